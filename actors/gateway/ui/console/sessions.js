// All sessions: a live table, its filters, and what can be done to many at once.

import { account, isSignedIn, may } from "./account.js";
import "./create.js";
import { make, set, shape, write } from "./dom.js";
import { endSessions } from "./end_sessions.js";
import { number } from "./format.js";
import { bar } from "./frame.js";
import { followAgents, subscribe } from "./live.js";
import { complain, complaintBox, notice } from "./notice.js";
import { address, filter, here } from "./router.js";
import { RowWindow } from "./row_window.js";
import { SessionList } from "./session_list.js";
import { columnsOf, fillRow, makeRow } from "./session_row.js";
import { say } from "./texts.js";

// Ages grow, and what is over goes after a while.
const TICK_MS = 2_000;

// What needs somebody comes first, where a phone has room for it.
const CHIPS = ["", "error", "created", "active", "terminating", "terminated"];

// What was in sight when another view was opened: Back comes back to it.
let left;
account.addEventListener("change", () => (left = undefined));

// Sessions that are made ready for a filter in one go, which takes a millisecond.
const AT_ONCE = 250;

class Sessions extends HTMLElement {
  keys = {
    "/": () => this.#field.focus(),
    n: () => may("session.create") && filter({ new: "1" }),
    j: () => this.#window.move(1),
    k: () => this.#window.move(-1),
    " ": (event) => this.#toggleFocused(event),
    Escape: () => this.#escape(),
  };

  #list = new SessionList();
  #preparing;
  #chosen = new Set();
  #window;
  #field;
  #chips;
  #chipsShown;
  #table;
  #scroll;
  #columns = [];
  #places;
  #empty;
  #aside;
  #actions;
  #complaint = complaintBox();
  #following;
  #ended;
  #agents;
  #tick;
  #loaded = false;
  #expected;

  connectedCallback() {
    this.#field = make("input", {
      type: "search", class: "filter", placeholder: say("filter"), "aria-label": say("filter"),
      autocomplete: "off", spellcheck: "false",
      oninput: () => filter({ q: this.#field.value }, true),
    });
    this.#chips = make("nav", { class: "chips", "aria-label": say("by_status") });
    this.#places = make("span", { class: "places muted" });
    this.#table = make("table", { role: "table", "aria-label": say("sessions") },
      make("thead", { role: "rowgroup" }), make("tbody", { role: "rowgroup" }));
    this.#empty = make("div", { class: "empty", hidden: true });
    this.#scroll = make("div", { class: "scroll rows" }, this.#table, this.#empty);
    this.#aside = make("aside", { hidden: true, "aria-label": say("new_session") });
    this.#actions = make("div", { class: "selection", hidden: true });
    const create = may("session.create") &&
      make("a", { class: "button primary", href: address("sessions", undefined, { new: "1" }),
        onclick: (event) => (event.preventDefault(), filter({ new: "1" })) }, say("new_session"));
    this.replaceChildren(
      bar(say("sessions"), this.#field),
      make("div", { class: "summary" }, this.#chips, this.#places, create || undefined),
      this.#complaint,
      make("div", { class: "beside" }, make("div", { class: "main" }, this.#scroll, this.#actions),
        this.#aside),
    );
    const listeners = {
      choose: (id, yes) => this.#choose(id, yes),
      visit: (id) => this.#window.visit(id),
    };
    this.#window = new RowWindow(this.#scroll, this.#table.tBodies[0], {
      create: ({ id }) => makeRow(id, this.#columns, listeners),
      update: (tr, row) => fillRow(tr, row, this.#chosen.has(row.id)),
    });
    this.#aside.addEventListener("created", ({ detail }) => this.#created(detail));
    this.#aside.addEventListener("closed", () => this.#closePanel());
    this.arrive();
    if (left) this.#window.restore(left);
    left = undefined;
    if (may("agent.read")) {
      this.#agents = followAgents((agents) => this.#tellPlaces(agents));
    }
    this.#tick = setInterval(() => {
      if (document.hidden) return;
      this.#list.sweep();
      this.#show();
    }, TICK_MS);
  }

  disconnectedCallback() {
    this.#following?.stop();
    this.#agents?.stop();
    clearInterval(this.#tick);
    // Whoever signs in next may not see it.
    if (isSignedIn()) left = { list: this.#list, ended: this.#ended, ...this.#window.sight };
  }

  /** Shows what the address asks for. */
  arrive() {
    const { query } = here();
    const status = query.get("status") ?? "";
    const text = query.get("q") ?? "";
    const sort = query.get("sort") ?? "made";
    const descending = query.get("order") !== "asc";
    if (document.activeElement !== this.#field) this.#field.value = text;
    const ended = status === "terminated";
    const others = ended !== this.#ended;
    if (others) this.#follow(ended);
    const afresh = this.#list.ask({ sort, descending, status, text }) || others;
    this.#head(sort, descending);
    this.#show({ afresh });
    this.#panel(query.get("new") === "1" && may("session.create"));
  }

  #follow(ended) {
    this.#following?.stop();
    this.#ended = ended;
    this.#loaded = left?.ended === ended;
    this.#list = this.#loaded ? left.list : new SessionList();
    const list = this.#list;
    const rows = (sessions, changed) => {
      const first = this.#loaded ? list.places : Infinity;
      list.take(sessions, changed);
      this.#loaded = true;
      this.#prepare();
      this.#show({ isNew: ({ place }) => place >= first });
    };
    const refused = (error) => complain(this.#complaint, error);
    this.#following = subscribe(rows, { ended, refused });
  }

  /** Has the list be ready for a filter, a little whenever the page has nothing else to do. */
  #prepare() {
    const later = window.requestIdleCallback ?? setTimeout;
    this.#preparing ??= later(() => {
      this.#preparing = undefined;
      if (this.isConnected && this.#list.prepare(AT_ONCE)) this.#prepare();
    });
  }

  #show(how) {
    const shown = this.#list.shown();
    const columns = columnsOf(shown);
    if (shown.length && columns.length !== this.#columns.length) {
      this.#columns = columns;
      this.#window.rebuild();
      const { query } = here();
      this.#head(query.get("sort") ?? "made", query.get("order") !== "asc");
    }
    this.#window.show(shown, how);
    set(this.#table, "aria-rowcount", shown.length + 1);
    for (const id of this.#chosen) if (!this.#list.find(id)) this.#chosen.delete(id);
    this.#countChips();
    this.#tellEmpty(shown);
    this.#offer();
    if (this.#expected && this.#list.find(this.#expected)) {
      this.#window.move(0, this.#expected);
      this.#expected = undefined;
    }
  }

  #head(sort, descending) {
    const head = make("tr", { role: "row", "aria-rowindex": "1" },
      may("session.delete") &&
        make("th", { role: "columnheader", class: "pick" }, this.#pickAll()),
      this.#columns.map(({ name, figure }) => {
        const by = sort === name;
        const order = descending ? "descending" : "ascending";
        const turn = () => filter({ sort: name, order: by && !descending ? "desc" : "asc" });
        const back = by && descending ? () => filter({ sort: "", order: "" }) : turn;
        return make("th",
          { role: "columnheader", scope: "col", class: `${name}${figure ? " figure" : ""}`,
            "aria-sort": by && order },
          make("button", { type: "button", onclick: back }, say(`column_${name}`)));
      }));
    this.#table.tHead.replaceChildren(head);
  }

  #pickAll() {
    const all = () => {
      const shown = this.#list.shown().filter(({ status }) => status !== "terminated");
      const every = shown.length > 0 && shown.every(({ id }) => this.#chosen.has(id));
      this.#chosen = new Set(every ? [] : shown.map(({ id }) => id));
      this.#show();
    };
    return make("label", { class: "tick" }, make("input",
      { type: "checkbox", "aria-label": say("select_all"), onchange: all }));
  }

  #choose(id, yes) {
    if (yes) this.#chosen.add(id);
    else this.#chosen.delete(id);
    this.#show();
  }

  #toggleFocused({ target }) {
    const id = target.closest?.("tr[data-id]")?.dataset.id;
    if (!id || target.matches("input") || !may("session.delete")) return false;
    this.#choose(id, !this.#chosen.has(id));
    return true;
  }

  #escape() {
    if (!this.#aside.hidden) return this.#closePanel();
    if (document.activeElement === this.#field) {
      if (this.#field.value) {
        this.#field.value = "";
        return filter({ q: "" }, true);
      }
      return this.#window.move(0, this.#window.current?.id ?? this.#list.shown()[0]?.id);
    }
    if (!this.#chosen.size) return false;
    this.#chosen.clear();
    return this.#show();
  }

  #countChips() {
    const counts = this.#list.counts();
    const { query } = here();
    const status = query.get("status") ?? "";
    const key = JSON.stringify([counts, this.#loaded, this.#ended, query.toString()]);
    if (this.#chipsShown === key) return;
    const chips = CHIPS.map((name) => {
      const known = name === "terminated" ? this.#ended : !this.#ended;
      const count = this.#loaded && known ? (name ? (counts[name] ?? 0) : counts.all) : undefined;
      // What is there seldom is offered when it is there.
      if (name === "terminating" && !count && status !== name) return undefined;
      const filters = { ...Object.fromEntries(query), status: name };
      return make("a", { class: "chip", href: address("sessions", undefined, filters),
        "aria-current": status === name && "true", "data-status": name },
        name && shape(name),
        make("span", {}, say(name ? `status_${name}` : "status_all")),
        count !== undefined &&
          make("span", { class: "count", "data-none": !count }, number(count)));
    });
    const focused = document.activeElement?.closest?.(".chip")?.dataset.status;
    this.#chipsShown = key;
    this.#chips.replaceChildren(...chips.filter(Boolean));
    const chosen = this.#chips.querySelector("[aria-current]");
    chosen?.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (focused === undefined) return;
    [...this.#chips.children].find(({ dataset }) => dataset.status === focused)?.focus();
  }

  #tellPlaces(agents) {
    const sum = (name) => agents.reduce((total, agent) => total + agent[name], 0);
    const values = { used: sum("sessions"), places: sum("places") };
    write(this.#places, agents.length ? say("places_used", values) : say("no_agent_short"));
  }

  #tellEmpty(shown) {
    this.#empty.hidden = shown.length > 0;
    this.#table.hidden = shown.length === 0;
    if (shown.length) return this.#empty.replaceChildren();
    const { query } = here();
    const filtered = query.get("q") || query.get("status");
    const kind = !this.#loaded ? "loading" : filtered ? "filtered" : "none";
    if (this.#empty.dataset.kind === kind && this.#empty.firstChild) return;
    this.#empty.dataset.kind = kind;
    const words = { loading: say("loading"), filtered: say("no_match"), none: say("no_session") };
    this.#empty.replaceChildren(make("p", {}, words[kind]));
    if (kind === "filtered") {
      const clear = () => {
        this.#field.value = "";
        filter({ q: "", status: "" });
      };
      this.#empty.append(make("button", { type: "button", onclick: clear }, say("show_all")));
    }
    if (kind === "none" && may("session.create")) this.#empty.append(...firstSession());
  }

  #offer() {
    const count = this.#chosen.size;
    this.#actions.hidden = !count;
    if (!count) return;
    this.#actions.replaceChildren(
      make("span", { class: "spread" }, say("selected", { count })),
      make("button", { type: "button", onclick: () => (this.#chosen.clear(), this.#show()) },
        say("select_none")),
      make("button", { type: "button", class: "grave", onclick: () => this.#end() },
        say("end_sessions", { count })),
    );
  }

  async #end() {
    complain(this.#complaint);
    try {
      const left = await endSessions([...this.#chosen], (id) => this.#list.find(id));
      if (!left) return;
      this.#chosen = new Set(left.map((error) => error.session_id));
      if (left.length) this.#tellLeft(left);
    } catch (error) {
      complain(this.#complaint, error);
    }
    this.#following.again();
    this.#show();
  }

  #tellLeft(left) {
    const reasons = new Set(left.map((error) => error.error_message));
    this.#complaint.textContent = say("sessions_stay",
      { count: left.length, reasons: [...reasons].join("; ") });
    this.#complaint.hidden = false;
  }

  #panel(open) {
    if (open === !this.#aside.hidden) return;
    this.#aside.hidden = !open;
    this.#aside.replaceChildren(...(open ? [document.createElement("console-create")] : []));
  }

  #closePanel() {
    filter({ new: "" });
    this.#window.move(0, this.#window.current?.id ?? this.#list.shown()[0]?.id);
  }

  #created({ id }) {
    notice(say("session_created", { id }));
    filter({ new: "", status: "", q: "" });
    this.#field.value = "";
    this.#expected = id;
    this.#following.again();
  }
}

function firstSession() {
  const command = make("pre", { class: "code", tabindex: "0" }, [
    'curl -X POST "$STREAM_GATEWAY/1.0/sessions" \\',
    '  -H "Authorization: Macaroon root=$STREAM_TOKEN" \\',
    `  -d '{"app":"…","joinable":true}'`,
  ].join("\n"));
  return [
    make("a", { class: "button", href: address("sessions", undefined, { new: "1" }) },
      say("make_first")),
    make("p", { class: "muted" }, say("or_by_command")),
    command,
  ];
}

customElements.define("console-sessions", Sessions);
