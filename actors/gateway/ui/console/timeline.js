// What happened to a session, hop by hop: bars on one axis until its first client is there and has
// a picture, moments after that. A failure is told at its hop.

import { ask } from "./account.js";
import { make, write } from "./dom.js";
import { clock, exact, milliseconds, span } from "./format.js";
import { follow } from "./live.js";
import { say } from "./texts.js";
import { START, axisOf, begin, rowsOf } from "./timeline_axis.js";

const EVERY_MS = 2_000;
const ENDED_EVERY_MS = 30_000;
// What somebody wanted is no fault, and what is as it should be is said without alarm.
const WANTED = "ended";
const CALM = ["client_left", "viewer_waits"];
const OVER = ["terminated", "error"];

// What of the start is only waited for.
const WAITED = ["boot"];
const KNOWN = [...START, "frame", "wait", "join", "socket", "client", "ice", "adb", "owner", "nats",
  "refusal", "end", "note"];

class Timeline extends HTMLElement {
  #id;
  #ended;
  #following;
  #shown;
  #fault = make("p", { class: "fault", hidden: true, dir: "auto" });
  #hops = make("ol", { class: "hops" });
  #none = make("p", { class: "muted" }, say("timeline_empty"));
  // Whether the list of credentials is open.
  #open = false;

  connectedCallback() {
    const title = make("h2", {}, say("timeline"));
    this.replaceChildren(title, this.#fault, this.#hops, this.#none);
    if (this.#id) this.#follow();
  }

  disconnectedCallback() {
    this.#following?.stop();
  }

  set session({ id, status }) {
    const ended = OVER.includes(status);
    if (this.#id === id && this.#ended === ended) return;
    this.#id = id;
    this.#ended = ended;
    if (this.isConnected) this.#follow();
  }

  #follow() {
    this.#following?.stop();
    const path = `sessions/${encodeURIComponent(this.#id)}/timeline`;
    const read = async () => (await ask("GET", path)).metadata;
    const refused = ({ status }) => (this.hidden = status === 403);
    const every = this.#ended ? ENDED_EVERY_MS : EVERY_MS;
    this.#following = follow(read, (timeline) => this.#show(timeline), refused, every);
  }

  #show({ entries, verdict }) {
    const text = JSON.stringify([entries, verdict]);
    if (text === this.#shown) return;
    this.#shown = text;
    const fault = verdict?.fault && verdict.fault !== WANTED;
    const calm = CALM.includes(verdict?.fault);
    this.#fault.hidden = !fault;
    this.#fault.classList.toggle("calm", calm);
    if (fault) {
      const at = calm ? [] : [make("strong", {}, nameOf(verdict.hop)), ": "];
      this.#fault.replaceChildren(...at, verdict.text,
        verdict.remedy && make("span", { class: "remedy" }, say("remedy", { remedy: verdict.remedy })));
    }
    this.#none.hidden = entries.length > 0;
    const axis = axisOf(entries);
    const told = once();
    this.#hops.replaceChildren(...rowsOf(entries).map((row) => {
      const time = told(row[0]);
      return row.length > 1 ? this.#several(row, time) : hop(row[0], time, axis);
    }));
  }

  /** Several in one row, which opens. */
  #several(entries, time) {
    const words = say("credentials_times", { count: entries.length, time: clock(entries.at(-1).at_ms) });
    const told = once();
    const each = entries.map((entry) => make("li", {}, moment(entry, told(entry)),
      make("span", {}, entry.text, unit(entry))));
    const details = make("details", { class: "text", open: this.#open,
      ontoggle: ({ target }) => (this.#open = target.open) },
      make("summary", {}, words), make("ol", { class: "each" }, each));
    return make("li", {}, make("span", { class: "hop" }, nameOf(entries[0].hop)),
      moment(entries[0], time), make("span", { class: "axis" }), make("span", { class: "took" }), details);
  }
}

function nameOf(hop) {
  return say(`hop_${KNOWN.includes(hop) ? hop : "other"}`);
}

/** Returns what tells the time of an entry, but not twice in a row. */
function once() {
  let before;
  return ({ at_ms: at }) => {
    const time = clock(at);
    if (time === before) return "";
    return (before = time);
  };
}

/** A row for an entry; `time` is empty where it is that of the row above. */
function hop(entry, time, axis) {
  const times = entry.count > 1 && make("span", { class: "muted" }, ` ×${entry.count}`);
  const took = make("span", { class: "took" });
  if (entry.took_ms !== undefined && entry.took_ms !== null) write(took, duration(entry.took_ms));
  return make("li", { class: entry.failed ? "failed" : undefined },
    make("span", { class: "hop" }, nameOf(entry.hop)),
    moment(entry, time),
    axis.has(entry) ? bar(entry, axis) : make("span", { class: "axis" }),
    took,
    make("span", { class: "text", dir: "auto" }, entry.text, times, unit(entry)));
}

function moment({ at_ms: at }, words) {
  return make("time", { datetime: new Date(at).toISOString(), title: exact(at) }, words);
}

function unit({ unit: name, request }) {
  return make("span", { class: "unit muted", title: request ?? undefined }, ` ${name}`);
}

function bar(entry, { from, length }) {
  const took = entry.took_ms ?? 0;
  const begun = Math.max(0, begin(entry) - from);
  const percent = (milliseconds) => `${Math.min(100, (100 * milliseconds) / length).toFixed(2)}%`;
  const drawn = make("i", { class: WAITED.includes(entry.hop) ? "waited" : "worked" });
  drawn.style.setProperty("--begin", percent(begun));
  drawn.style.setProperty("--length", percent(Math.min(took, length - begun)));
  return make("span", { class: "axis line", "aria-hidden": "true" }, drawn);
}

function duration(took) {
  return took < 1_000 ? milliseconds(took * 1_000) : span(took / 1_000);
}

customElements.define("console-timeline", Timeline);
