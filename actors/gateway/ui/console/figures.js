// The figures of the gateway that answers, as far as they say how it does.

import { askText, forbid } from "./account.js";
import { make, mark, write } from "./dom.js";
import { milliseconds, number, span } from "./format.js";
import { bar } from "./frame.js";
import { follow } from "./live.js";
import { Scrape, quantileOf } from "./metrics_text.js";
import { complain, complaintBox } from "./notice.js";
import { Plot } from "./plot.js";
import { say } from "./texts.js";

const NOT_OFFERED = [403, 404];
const EVERY_MS = 5_000;
// A gateway is not waited for any longer, where another one answers.
const AWAY_MS = 20_000;
const LEAST_MS = 1_000;
const SHOWN_MS = 5 * 60_000;
const DURATION = "http_request_duration_seconds_bucket";
const LATE = 0.95;
// They are answered as long as somebody listens.
const LONG = ["get_events", "streaming_websocket_slave", "streaming_websocket_adb"];

// Each with what it is between two samples, and how it is written.
const FIGURES = {
  active: [({ active }) => active, number],
  requests: [perSecond("requests"), rateWords],
  late: [late, milliseconds],
  failed: [perSecond("failed"), rateWords],
  in_flight: [({ in_flight: value }) => value, number],
  handshakes: [perSecond("handshakes"), rateWords],
};

const REFUSED = {
  refused_requests: ["http_refused_requests_total", "cause"],
  refused_connections: ["http_refused_connections_total", "cause"],
  refused_messages: ["actor_refused_total", "actor"],
};

// What was seen of each unit: behind one address there may be several, and Back comes back to it.
const units = new Map();

class Figures extends HTMLElement {
  #plots = {};
  #unit = make("p", { class: "muted unit" });
  #health = make("ul", { class: "states health" });
  #refusals = make("tbody");
  #none = make("p", { class: "muted" }, say("no_refusal"));
  #table;
  #complaint = complaintBox();
  #following;
  #chosen;

  connectedCallback() {
    for (const [name, [, words]] of Object.entries(FIGURES)) {
      this.#plots[name] = new Plot(say(`figure_${name}`), words);
    }
    const heads = ["what", "cause", "lately", "ever"].map((name) => make("th",
      { scope: "col", class: name }, make("span", {}, say(`refusal_${name}`))));
    this.#table = make("table", { class: "refusals", hidden: true, "aria-label": say("refusals") },
      make("thead", {}, make("tr", {}, heads)), this.#refusals);
    this.replaceChildren(bar(say("figures")), this.#complaint,
      make("div", { class: "scroll figures", tabindex: "0",
        role: "region", "aria-label": say("figures") }, this.#unit,
        make("div", { class: "plots" }, Object.values(this.#plots).map(({ element }) => element)),
        this.#health,
        make("h2", {}, say("refusals")), this.#none, this.#table));
    const refused = (error) => {
      if (NOT_OFFERED.includes(error.status)) forbid("status.read");
      else complain(this.#complaint, error);
    };
    const read = async () => new Scrape(await askText("metrics"));
    this.#following = follow(read, (scrape) => this.#take(scrape), refused, EVERY_MS);
  }

  disconnectedCallback() {
    this.#following.stop();
  }

  arrive() {}

  #take(scrape) {
    const now = Date.now();
    const [{ labels = {} } = {}] = scrape.all("build_info");
    const name = labels.unit ?? "";
    for (const [unit, samples] of units) {
      if (now - samples.at(-1).at > SHOWN_MS) units.delete(unit);
    }
    // One gateway at a time, as long as it answers: the figures of two are no line.
    const heard = units.get(this.#chosen)?.at(-1).at ?? 0;
    if (now - heard > AWAY_MS) this.#chosen = name;
    const samples = (units.get(name) ?? []).filter(({ at }) => now - at < SHOWN_MS);
    // From two that are close together nothing can be told per second.
    if (now - samples.at(-1)?.at < LEAST_MS) return;
    units.set(name, [...samples, { at: now, ...sample(scrape) }]);
    if (name === this.#chosen) this.#show(labels, units.get(name), scrape);
  }

  #show({ unit, version }, samples, scrape) {
    const [first, last] = [samples[0], samples.at(-1)];
    const others = units.size > 1 ? say("other_units", { count: units.size - 1 }) : "";
    write(this.#unit, [unit && say("unit_of_figures", { unit, version }),
      say("figures_since", { span: span((last.at - first.at) / 1000) }), others]
      .filter(Boolean).join(" · "));
    for (const [figure, [read]] of Object.entries(FIGURES)) {
      const points = samples.slice(1).map((one, place) =>
        ({ at: one.at, value: read(one, samples[place]) }));
      this.#plots[figure].show(points, last.at - SHOWN_MS, last.at);
    }
    this.#health.replaceChildren(...health(scrape));
    const rows = refusals(last.refused, first.refused);
    this.#refusals.replaceChildren(...rows.map(refusalRow));
    this.#table.hidden = rows.length === 0;
    this.#none.hidden = rows.length > 0;
  }
}

/** What is kept of a scrape. */
function sample(scrape) {
  const refused = new Map();
  for (const [what, [name, label]] of Object.entries(REFUSED)) {
    for (const [cause, count] of scrape.by(name, label)) refused.set(`${what} ${cause}`, count);
  }
  return {
    active: scrape.sum("sessions_total", ({ status }) => status === "active"),
    requests: scrape.sum("http_requests_total"),
    failed: scrape.sum("http_requests_total", ({ code }) => code === "5xx"),
    in_flight: scrape.sum("http_in_flight_requests"),
    handshakes: scrape.sum("tls_handshakes_total"),
    buckets: scrape.by(DURATION, "le", ({ handler }) => !LONG.includes(handler)),
    refused,
  };
}

function perSecond(name) {
  return (now, before) => Math.max(now[name] - before[name], 0) / ((now.at - before.at) / 1000);
}

function rateWords(value) {
  return `${number(value, 1)}/s`;
}

function late(now, before) {
  const seconds = quantileOf(LATE, before.buckets, now.buckets);
  return seconds === undefined ? undefined : seconds * 1_000_000;
}

/** NATS and the actors, those that do not run first. */
function health(scrape) {
  const actors = scrape.all("actor_state").map(({ labels }) => labels)
    .sort((one, other) => (one.actor < other.actor ? -1 : 1));
  const ill = actors.filter(({ state }) => state !== "running");
  const nats = scrape.sum("nats_up") > 0;
  const line = (well, words) => make("li", {}, mark(well ? "active" : "error", words));
  return [
    line(nats, say(nats ? "nats_there" : "nats_away")),
    ...ill.map(({ actor, state }) => line(false, `${actor}: ${state}`)),
    ill.length === 0 && line(true, say("actors_run", { count: actors.length })),
  ].filter(Boolean);
}

/** What was refused ever, and since the first sample; what is most of it lately first. */
function refusals(ever, first) {
  const rows = [...ever].filter(([, count]) => count > 0).map(([name, count]) => {
    const [what, cause] = name.split(" ");
    return { what, cause, ever: count, lately: Math.max(count - (first.get(name) ?? 0), 0) };
  });
  return rows.sort((one, other) => other.lately - one.lately || other.ever - one.ever);
}

function refusalRow({ what, cause, lately, ever }) {
  return make("tr", {},
    make("td", { class: "what" }, say(what)),
    make("td", { class: "cause" }, what === "refused_messages" ? cause : words(cause)),
    make("td", { class: "lately figure", "data-label": say("refusal_lately") }, number(lately)),
    make("td", { class: "ever figure", "data-label": say("refusal_ever") }, number(ever)));
}

/** What is known of a cause; one that is not known says itself. */
function words(cause) {
  const text = say(`cause_${cause}`);
  return text === `cause_${cause}` ? cause : text;
}

customElements.define("console-figures", Figures);
