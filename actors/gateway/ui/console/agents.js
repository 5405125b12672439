// The agents: how each is, as it says itself, and the order to drain.

import { ask, forbid, may } from "./account.js";
import { confirm } from "./confirm.js";
import { make, mark, set, write } from "./dom.js";
import { bar } from "./frame.js";
import { followAgents } from "./live.js";
import { complain, complaintBox, notice } from "./notice.js";
import { address, go, here } from "./router.js";
import { say } from "./texts.js";

// The token may not, or the gateway is older than this.
const NOT_OFFERED = [403, 404];
const CONFLICT = 409;
const OUT = ["draining", "drained"];

class Agents extends HTMLElement {
  keys = {
    j: () => this.#step(1),
    k: () => this.#step(-1),
    Escape: () => (here().id ? this.#close() : false),
  };

  #agents = [];
  #body = make("tbody");
  #table;
  #empty = make("div", { class: "empty" }, make("p", {}, say("loading")));
  #aside = make("aside", { hidden: true, "aria-label": say("agent") });
  #complaint = complaintBox();
  #following;
  #shown;
  #panel;
  // How many sessions an agent that drains had when this page saw it first.
  #most = new Map();

  connectedCallback() {
    const names = ["state", "name", "region", "version", "sessions", "remarks"];
    const heads = names.map((name) =>
      make("th", { scope: "col", class: name }, make("span", {}, say(`agent_${name}`))));
    this.#table = make("table", { hidden: true, class: "agents", "aria-label": say("agents") },
      make("thead", {}, make("tr", {}, heads)), this.#body);
    this.replaceChildren(bar(say("agents")), this.#complaint,
      make("div", { class: "beside" },
        make("div", { class: "main" },
          make("div", { class: "scroll rows" }, this.#table, this.#empty)),
        this.#aside));
    this.#following = followAgents((agents) => this.#show(agents),
      (error) => this.#refused(error));
  }

  disconnectedCallback() {
    this.#following.stop();
  }

  arrive() {
    this.#show(this.#agents, true);
    if (here().id) this.#aside.querySelector("h2")?.focus();
  }

  #refused(error) {
    if (NOT_OFFERED.includes(error.status)) return forbid("agent.read");
    complain(this.#complaint, error);
  }

  #show(agents, anyway) {
    const text = JSON.stringify(agents);
    if (text === this.#shown && !anyway) return;
    const loaded = this.#shown !== undefined || !anyway;
    this.#shown = anyway ? this.#shown : text;
    this.#agents = agents;
    for (const { name, state, sessions } of agents) {
      if (!OUT.includes(state)) this.#most.delete(name);
      else this.#most.set(name, Math.max(this.#most.get(name) ?? 0, sessions));
    }
    const focused = document.activeElement?.closest?.("tr")?.dataset.name;
    this.#body.replaceChildren(...agents.map((agent) => this.#row(agent)));
    if (focused) this.#link(focused)?.focus();
    this.#table.hidden = agents.length === 0;
    this.#empty.hidden = agents.length > 0 || !loaded;
    if (!agents.length) this.#tellNone();
    this.#detail();
  }

  #tellNone() {
    this.#empty.replaceChildren(make("p", {}, say("no_agent")),
      make("p", { class: "muted" }, say("no_agent_remedy")),
      make("pre", { class: "code", tabindex: "0" }, "stream-agent run --config agent.toml"));
  }

  #row(agent) {
    const chosen = here().id === agent.name;
    const open = (event) => {
      if (event.target.closest("a") || String(getSelection())) return;
      go(address("agents", agent.name));
    };
    return make("tr", { "data-name": agent.name, "data-state": agent.state,
      class: chosen ? "chosen" : false, onclick: open },
      make("td", { class: "state" }, mark(agent.state, say(`state_${agent.state}`))),
      make("td", { class: "name" }, make("a", { href: address("agents", agent.name), dir: "auto",
        "aria-current": chosen && "true" }, agent.name)),
      make("td", { class: "region", dir: "auto" }, agent.region),
      make("td", { class: "version" }, agent.version),
      make("td", { class: "sessions" }, places(agent)),
      make("td", { class: "remarks", dir: "auto" }, remarks(agent)));
  }

  #detail() {
    const { id } = here();
    const agent = this.#agents.find(({ name }) => name === id);
    this.#aside.hidden = !id || this.#shown === undefined;
    if (this.#aside.hidden) {
      this.#panel = undefined;
      return this.#aside.replaceChildren();
    }
    // The head and the button stay, and with them the focus.
    if (this.#panel?.name !== id) this.#panel = this.#makePanel(id);
    this.#panel.fill(agent);
  }

  #makePanel(name) {
    const close = make("button", { type: "button", class: "plain", "aria-label": say("close"),
      onclick: () => this.#close() }, "✕");
    const body = make("div", { class: "panel-body" });
    const rest = make("div", { class: "panel-body" });
    const drain = make("button", { type: "button", onclick: () => this.#drain(name) },
      say("drain_agent"));
    const back = make("button", { type: "button", onclick: () => this.#takeBack(name) },
      say("take_back"));
    const actions = make("div", { class: "actions" }, may("agent.drain") && [drain, back]);
    const trouble = complaintBox();
    const head = make("h2", { dir: "auto", tabindex: "-1" }, name);
    this.#aside.replaceChildren(make("div", { class: "panel-head" }, head, close), body, trouble,
      actions, rest);
    head.focus();
    return {
      name, trouble,
      fill: (agent) => {
        const out = OUT.includes(agent?.state);
        const had = document.activeElement === (out ? drain : back);
        drain.hidden = !agent || out || !agent.remote_drain;
        back.hidden = !agent || !out;
        if (had) (out ? back : drain).focus();
        body.replaceChildren(...(agent ? details(agent, this.#most.get(name)) :
          [make("p", {}, say("agent_gone"))]));
        rest.replaceChildren(...(agent ? states(agent) : []));
      },
    };
  }

  async #drain(name) {
    const agent = this.#agents.find((one) => one.name === name);
    const yes = await confirm({
      question: say("drain_question", { name }),
      lines: [agent?.sessions ? say("drain_hit", { count: agent.sessions }) : say("drain_hits_none"),
        say("drain_stays")],
      verb: say("drain_agent"),
    });
    if (!yes) return;
    try {
      await this.#order("POST", name, "");
    } catch (error) {
      if (error.status !== CONFLICT) return complain(this.#panel.trouble, error);
      const sure = await confirm({ question: say("drain_anyway_question", { name }),
        lines: [error.message], verb: say("drain_anyway") });
      if (sure) await this.#order("POST", name, "?force=true").catch((again) =>
        complain(this.#panel.trouble, again));
    }
  }

  async #takeBack(name) {
    await this.#order("DELETE", name, "").catch((error) => complain(this.#panel.trouble, error));
  }

  async #order(method, name, query) {
    complain(this.#panel.trouble);
    await ask(method, `agents/${encodeURIComponent(name)}/drain${query}`);
    notice(say(method === "POST" ? "drain_begun" : "taken_back", { name }));
    this.#following.again();
  }

  #step(step) {
    const rows = [...this.#body.rows];
    const at = rows.indexOf(document.activeElement?.closest?.("tr"));
    const to = at < 0 ? 0 : Math.min(Math.max(at + step, 0), rows.length - 1);
    rows[to]?.querySelector("a").focus();
  }

  #link(name) {
    return [...this.#body.rows].find((row) => row.dataset.name === name)?.querySelector("a");
  }

  #close() {
    const { id } = here();
    go(address("agents"));
    this.#link(id)?.focus();
  }
}

function places({ sessions, places: all }) {
  const words = make("span", {}, say("of_places", { sessions, places: all }));
  return make("span", { class: "gauge-line" }, gauge(all ? sessions / all : 0), words);
}

/** Returns a bar for eyes only; the words are beside it. */
function gauge(part) {
  const fill = make("span", { class: "gauge-fill" });
  fill.style.width = `${Math.min(part, 1) * 100}%`;
  return make("span", { class: "gauge", "aria-hidden": "true" }, fill);
}

/** What is not as it should be, the most pressing first. */
function remarks(agent) {
  // What the cause says already is not said again.
  const away = Object.entries(agent.dependencies)
    .filter(([, state]) => state !== "ok" && state !== agent.cause);
  const ill = agent.actors.filter(({ state }) => state !== "running");
  const lines = [
    agent.cause,
    ...agent.alerts,
    ...away.map(([name, why]) => `${name}: ${why}`),
    ...ill.map(({ name, state }) => `${name}: ${state}`),
    agent.state === "draining" ? say("still_has", { count: agent.left }) : "",
    agent.state === "drained" ? say("takes_none") : "",
  ];
  const told = lines.filter(Boolean).join(" · ");
  return told || make("span", { class: "muted" }, say("all_well"));
}

function details(agent, most) {
  const facts = [
    ["agent_state", mark(agent.state, say(`state_${agent.state}`))],
    ["agent_region", agent.region],
    ["cluster", agent.cluster && make("code", {}, agent.cluster)],
    ["agent_version", agent.version],
    ["agent_sessions", places(agent)],
    ["agent_free", String(agent.free)],
  ];
  const dl = make("dl", { class: "facts" }, facts.filter(([, value]) => value)
    .map(([name, value]) => [make("dt", {}, say(name)), make("dd", {}, value)]));
  return [
    agent.cause && make("p", { class: "complaint" }, agent.cause),
    agent.alerts.map((alert) => make("p", { class: "complaint" }, alert)),
    OUT.includes(agent.state) && progress(agent, most),
    dl,
    !agent.remote_drain && may("agent.drain") &&
      make("p", { class: "hint" }, say("no_remote_drain")),
  ].flat().filter(Boolean);
}

function states(agent) {
  return [
    make("h3", {}, say("dependencies")),
    make("ul", { class: "states" }, Object.entries(agent.dependencies).map(([name, state]) =>
      line(state === "ok", name, state === "ok" ? "" : state))),
    make("h3", {}, say("actors")),
    make("ul", { class: "states" }, agent.actors.map((actor) => line(actor.state === "running",
      actor.name, [actor.state === "running" ? "" : actor.state,
        actor.restarts ? say("restarts", { count: actor.restarts }) : "",
        actor.last_failure ?? ""].filter(Boolean).join(" · ")))),
  ];
}

function line(well, name, why) {
  return make("li", {}, mark(well ? "active" : "error", name),
    why && make("span", { class: "muted", dir: "auto" }, why));
}

/** How far a drain is: its own count, and the most that this page has seen. */
function progress(agent, most = 0) {
  const left = agent.state === "drained" ? 0 : agent.left;
  const words = left ? say("left_of", { count: left }) : say("nothing_left");
  const bar = make("progress", { "aria-label": say("drain_progress"), max: Math.max(most, 1) });
  set(bar, "value", String(Math.max(Math.max(most, 1) - left, 0)));
  const box = make("div", { class: "progress" }, bar, make("span", {}));
  write(box.lastChild, words);
  return box;
}

customElements.define("console-agents", Agents);
