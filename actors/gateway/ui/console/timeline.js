// What happened to a session, hop by hop: bars on one axis until its client is there, moments after
// that. A failure is told at its hop.

import { ask } from "./account.js";
import { draw, make, write } from "./dom.js";
import { clock, milliseconds, span } from "./format.js";
import { follow } from "./live.js";
import { say } from "./texts.js";

const EVERY_MS = 2_000;
const ENDED_EVERY_MS = 30_000;
const WANTED = "ended";
const OVER = ["terminated", "error"];

// The axis, and the least that can be seen of a bar, in units of the drawing.
const AXIS = 1_000;
const LEAST = 6;

// What a session does until its client is there, and what of that is only waited for.
const START = ["create", "place", "launch", "boot", "offer", "answer"];
const WAITED = ["boot"];
const KNOWN = [...START, "join", "socket", "client", "ice", "adb", "owner", "nats", "refusal", "end", "note"];

class Timeline extends HTMLElement {
  #id;
  #ended;
  #following;
  #shown;
  #fault = make("p", { class: "fault", hidden: true, dir: "auto" });
  #hops = make("ol", { class: "hops" });
  #none = make("p", { class: "muted" }, say("timeline_empty"));

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
    // What somebody wanted is no fault.
    const fault = verdict?.fault && verdict.fault !== WANTED;
    this.#fault.hidden = !fault;
    if (fault) {
      this.#fault.replaceChildren(make("strong", {}, nameOf(verdict.hop)), `: ${verdict.text}`,
        verdict.remedy && make("span", { class: "remedy" }, say("remedy", { remedy: verdict.remedy })));
    }
    this.#none.hidden = entries.length > 0;
    const axis = axisOf(entries);
    this.#hops.replaceChildren(...entries.map((entry) => hop(entry, axis)));
  }
}

/**
 * Returns where the start of a session begins and ends, in Unix milliseconds, and which entries are
 * on the way: of each hop the first, until a client is there or the session ends.
 */
export function axisOf(entries) {
  const on = new Map();
  for (const entry of entries) {
    if (["client", "end"].includes(entry.hop)) break;
    if (START.includes(entry.hop) && !on.has(entry.hop)) on.set(entry.hop, entry);
  }
  const way = [...on.values()];
  const from = Math.min(...way.map(begin));
  const to = Math.max(...way.map((entry) => entry.at_ms));
  return { from, length: Math.max(1, to - from), has: (entry) => way.includes(entry) };
}

function begin(entry) {
  return entry.at_ms - (entry.took_ms ?? 0);
}

function nameOf(hop) {
  return say(`hop_${KNOWN.includes(hop) ? hop : "other"}`);
}

function hop(entry, axis) {
  const times = entry.count > 1 && make("span", { class: "muted" }, ` ×${entry.count}`);
  const took = make("span", { class: "took" });
  if (entry.took_ms !== undefined && entry.took_ms !== null) write(took, duration(entry.took_ms));
  return make("li", { class: entry.failed ? "failed" : undefined },
    make("span", { class: "hop" }, nameOf(entry.hop)),
    make("time", { datetime: new Date(entry.at_ms).toISOString() }, clock(entry.at_ms)),
    axis.has(entry) ? bar(entry, axis) : make("span", { class: "axis" }),
    took,
    make("span", { class: "text", dir: "auto" }, entry.text, times,
      make("span", { class: "unit muted", title: entry.request ?? undefined }, ` ${entry.unit}`)));
}

function bar(entry, { from, length }) {
  const scale = (milliseconds) => (milliseconds * AXIS) / length;
  const width = Math.max(LEAST, scale(entry.took_ms ?? 0));
  const x = Math.min(scale(begin(entry) - from), AXIS - width);
  const kind = WAITED.includes(entry.hop) ? "waited" : "worked";
  const line = ["line", { x1: 0, x2: AXIS, y1: 6, y2: 6, class: "line" }];
  const drawn = draw(`0 0 ${AXIS} 12`, "axis", line, ["rect", { x, y: 1, width, height: 10, class: kind }]);
  drawn.setAttribute("preserveAspectRatio", "none");
  return drawn;
}

function duration(took) {
  return took < 1_000 ? milliseconds(took * 1_000) : span(took / 1_000);
}

customElements.define("console-timeline", Timeline);
