// The shares of all sessions: who may join which by a link, who made it, and until when.

import { forbid, may } from "./account.js";
import { make, set, write } from "./dom.js";
import { moment } from "./format.js";
import { bar } from "./frame.js";
import { followShares } from "./live.js";
import { complain, complaintBox } from "./notice.js";
import { address } from "./router.js";
import { RowWindow } from "./row_window.js";
import { end, prolong } from "./share_actions.js";
import { say } from "./texts.js";

// The token may not, or the gateway is older than this.
const NOT_OFFERED = [403, 404];
// How long until each ends is written anew so often, and what has ended goes.
const TICK_MS = 10_000;
const COLUMNS = ["session", "role", "description", "maker", "end"];

class AllShares extends HTMLElement {
  keys = { j: () => this.#window.move(1), k: () => this.#window.move(-1) };

  #table;
  #empty = make("div", { class: "empty" }, make("p", {}, say("loading")));
  #complaint = complaintBox();
  #window;
  #rows = [];
  #following;
  #tick;

  connectedCallback() {
    const acts = [may("share.update") && ["prolong", prolong],
      may("share.delete") && ["end_share", end, "grave"]].filter(Boolean);
    const columns = [...COLUMNS, ...(acts.length ? ["acts"] : [])];
    const heads = columns.map((name) => make("th", { scope: "col", class: `share-${name}` },
      make("span", {}, say(`share_${name}`))));
    this.#table = make("table", { hidden: true, class: "all-shares", "aria-label": say("shares") },
      make("thead", {}, make("tr", {}, heads)), make("tbody"));
    const scroll = make("div", { class: "scroll rows" }, this.#table, this.#empty);
    this.replaceChildren(bar(say("shares")), this.#complaint, scroll);
    this.#window = new RowWindow(scroll, this.#table.tBodies[0], {
      create: (share) => this.#make(share, acts), update: fill,
    });
    const refused = (error) => {
      if (NOT_OFFERED.includes(error.status)) forbid("share.read");
      else complain(this.#complaint, error);
    };
    this.#following = followShares(undefined, (shares) => this.#show(shares), refused);
    this.#tick = setInterval(() => this.#show(this.#rows), TICK_MS);
  }

  disconnectedCallback() {
    this.#following.stop();
    clearInterval(this.#tick);
  }

  arrive() {}

  #show(shares) {
    const had = this.contains(document.activeElement);
    const now = Date.now() / 1000;
    // What ends next comes first.
    this.#rows = shares.filter((share) => share.expiry_at > now)
      .sort((one, other) => one.expiry_at - other.expiry_at);
    const { length } = this.#rows;
    this.#table.hidden = length === 0;
    this.#empty.hidden = length > 0;
    this.#empty.replaceChildren(make("p", {}, say("no_share")),
      make("p", { class: "muted" }, say("no_share_remedy")));
    set(this.#table, "aria-rowcount", length + 1);
    this.#window.show(this.#rows);
    // The row that had the focus may be gone.
    if (had && !this.contains(document.activeElement)) this.querySelector("h1").focus();
  }

  #make(share, acts) {
    const buttons = acts.map(([name, act, kind]) => make("button", { type: "button", class: kind,
      onclick: () => this.#do(share.id, act) }, say(name)));
    return make("tr", { "data-id": share.id, onfocusin: () => this.#window.visit(share.id) },
      make("td", { class: "share-session" },
        make("a", { href: address("sessions", share.session_id) },
          make("code", {}, share.session_id))),
      make("td", { class: "share-role" }), make("td", { class: "share-description", dir: "auto" }),
      make("td", { class: "share-maker", dir: "auto" }), make("td", { class: "share-end" }),
      buttons.length > 0 && make("td", { class: "share-acts" },
        make("div", { class: "actions" }, buttons)));
  }

  async #do(id, act) {
    complain(this.#complaint);
    try {
      // As it is now: it may have been prolonged.
      const share = this.#rows.find((row) => row.id === id);
      if (share) await act(share);
      this.#following.again();
    } catch (error) {
      complain(this.#complaint, error);
    }
  }
}

function fill(tr, { type, description, made_by: maker, expiry_at: expiry }) {
  const [, role, words, by, ends] = tr.cells;
  write(role, say(`role_${type}`));
  write(words, description);
  set(words, "title", description || undefined);
  write(by, maker ?? say("share_of_operator"));
  const until = moment(expiry);
  until.prepend(make("span", { class: "muted" }, say("ends"), " "));
  if (ends.textContent !== until.textContent) ends.replaceChildren(until);
}

customElements.define("console-all-shares", AllShares);
