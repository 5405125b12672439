// What happened to a session, hop by hop: bars on one axis until its first client is there and has
// a picture, moments after that. A failure is told at its hop.

import { ask } from "./account.js";
import { draw, make, write } from "./dom.js";
import { clock, milliseconds, span } from "./format.js";
import { follow } from "./live.js";
import { say } from "./texts.js";
import { START, axisOf, begin } from "./timeline_axis.js";

const EVERY_MS = 2_000;
const ENDED_EVERY_MS = 30_000;
const WANTED = "ended";
const OVER = ["terminated", "error"];
const CALM = ["client_left", "viewer_waits"];

// The axis, and the least that can be seen of a bar, in units of the drawing.
const AXIS = 1_000;
const LEAST = 6;

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
    const calm = CALM.includes(verdict?.fault);
    const fault = verdict?.fault && verdict.fault !== WANTED;
    this.#fault.hidden = !fault;
    if (fault) {
      const at = calm ? [] : [make("strong", {}, nameOf(verdict.hop)), ": "];
      this.#fault.replaceChildren(...at, verdict.text,
        verdict.remedy && make("span", { class: "remedy" }, say("remedy", { remedy: verdict.remedy })));
    }
    this.#none.hidden = entries.length > 0;
    const axis = axisOf(entries);
    this.#hops.replaceChildren(...entries.map((entry) => hop(entry, axis)));
  }
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
  const width = Math.min(AXIS, Math.max(LEAST, scale(entry.took_ms ?? 0)));
  const x = Math.max(0, Math.min(scale(begin(entry) - from), AXIS - width));
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
