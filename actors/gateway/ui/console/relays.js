// The relays: how each answers the agents that hand it out, the worst first. Before them, as a row
// of their own, the agents that do not say.

import { forbid } from "./account.js";
import { make, mark } from "./dom.js";
import { milliseconds } from "./format.js";
import { bar } from "./frame.js";
import { followRelays } from "./live.js";
import { complain, complaintBox } from "./notice.js";
import { say } from "./texts.js";

// The token may not, or the gateway is older than this.
const NOT_OFFERED = [403, 404];
// So many agents without trouble have a line of their own.
const FEW = 4;

class Relays extends HTMLElement {
  #body = make("tbody");
  #table;
  #empty = make("div", { class: "empty" }, make("p", {}, say("loading")));
  #complaint = complaintBox();
  #following;
  #shown;

  connectedCallback() {
    const heads = ["state", "server", "agents"].map((name) =>
      make("th", { scope: "col", class: name }, make("span", {}, say(`relay_${name}`))));
    this.#table = make("table", { hidden: true, class: "relays", "aria-label": say("relays") },
      make("thead", {}, make("tr", {}, heads)), this.#body);
    this.replaceChildren(bar(say("relays")), this.#complaint,
      make("div", { class: "scroll rows" }, this.#table, this.#empty));
    const refused = (error) => {
      if (NOT_OFFERED.includes(error.status)) forbid("relay.read");
      else complain(this.#complaint, error);
    };
    this.#following = followRelays((relays) => this.#show(relays), refused);
  }

  disconnectedCallback() {
    this.#following.stop();
  }

  arrive() {}

  #show(relays) {
    // Who has opened the list of agents keeps it while nothing differs.
    const text = JSON.stringify(relays);
    if (text === this.#shown) return;
    this.#shown = text;
    const open = new Set([...this.#body.querySelectorAll("details[open]")]
      .map((details) => details.dataset.server));
    this.#body.replaceChildren(...relays.map((relay) => row(relay, open)));
    this.#table.hidden = relays.length === 0;
    this.#empty.hidden = relays.length > 0;
    this.#empty.replaceChildren(make("p", {}, say("no_relay")),
      make("p", { class: "muted" }, say("no_relay_remedy")),
      make("pre", { class: "code", tabindex: "0" },
        '[turn]\nurls = ["turn:relay.example.com:3478?transport=udp"]'));
  }
}

function row({ pool, server, state, agents }, open) {
  return make("tr", { "data-state": state },
    make("td", { class: "state" }, mark(state, say(`relay_${state}`))),
    make("td", { class: "server", title: server || undefined }, server ? name(server, pool) :
      make("span", { class: "muted" }, say("relay_unknown"))),
    make("td", { class: "agents" }, verdicts(agents, open.has(server), server)));
}

function name(server, pool) {
  const { scheme, host, transport } = parts(server);
  return [make("strong", { dir: "ltr" }, host), make("span", { class: "muted" },
    [scheme, transport, say("relay_pool", { pool })].filter(Boolean).join(" · "))];
}

/** `turn:relay.example.com:3478?transport=udp` in its parts. */
function parts(server) {
  const found = server.match(/^(turns?):([^?]*)\??(.*)$/) ?? [];
  const [, scheme = "", host = server, query = ""] = found;
  return { scheme, host, transport: new URLSearchParams(query).get("transport") };
}

function verdicts(agents, open, server) {
  const bad = agents.filter(({ state }) => state !== "good");
  const good = agents.filter(({ state }) => state === "good");
  const shown = [...bad, ...good.slice(0, FEW)].map(line);
  const rest = good.slice(FEW);
  return [
    make("ul", { class: "verdicts" }, shown),
    rest.length > 0 && make("details", { open, "data-server": server },
      make("summary", {}, say("more_agents", { count: rest.length })),
      make("ul", { class: "verdicts" }, rest.map(line))),
  ];
}

/** What one agent makes of a relay, or why it does not say. */
function line({ agent, state, cause, transports }) {
  return make("li", { "data-state": state },
    mark(state, agent),
    make("span", { class: "ways" }, cause && make("span", { class: "cause", dir: "auto" }, cause),
      transports.map((way) => wayWords(way))));
}

function wayWords({ transport, binding_us: binding, allocate_us: allocate, cause }) {
  const name = make("span", { class: "muted" }, `${transport} `);
  if (cause) return make("span", { class: "cause", dir: "auto" }, name, cause);
  const allocated = say("allocated_in", { span: milliseconds(allocate) });
  return make("span", { class: "figure" }, name, milliseconds(binding),
    make("span", { class: "muted" }, `, ${allocated}`));
}

customElements.define("console-relays", Relays);
