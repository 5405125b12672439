// Statistics beside the picture: the last minute as lines, what is now as figures.

import { make, write } from "../console/dom.js";
import { line, row, sample, steps } from "./statistics.js";
import { current, say } from "./texts.js";

const EVERY_MS = 1_000;
const MOST = 60;
const PLOT = { width: 140, height: 28 };
const SVG = "http://www.w3.org/2000/svg";

// What is shown, with its unit and how many places behind the point.
const FIGURES = {
  bitrate: ["Mbit/s", 2], frames: ["/s", 0], round_trip: ["ms", 1], jitter: ["ms", 1],
  loss: ["%", 1], decode: ["ms", 1],
};

class Statistics extends HTMLElement {
  #rows = [];
  #before;
  #timer;
  #cells = new Map();
  #about = make("dl", { class: "about" });
  #steps = make("dl", { class: "about" });

  /** What to show: `statistics()`, a promise of a report, `times`, and `close()`. */
  source;

  connectedCallback() {
    this.setAttribute("role", "complementary");
    this.setAttribute("aria-label", say("statistics"));
    const table = make("table", {}, make("tbody", {}, Object.keys(FIGURES).map((name) => {
      const plot = plotOf();
      const value = make("td", { class: "value" }, "–");
      this.#cells.set(name, { plot, value });
      return make("tr", {}, make("th", { scope: "row" }, say(`figure_${name}`)),
        make("td", {}, plot), value);
    })));
    this.replaceChildren(
      make("div", { class: "head" }, make("h2", {}, say("statistics")),
        make("button", { type: "button", class: "quiet", onclick: () => this.source.close() },
          say("close"))),
      table, this.#about,
      make("h3", {}, say("first_picture_steps")), this.#steps,
      make("button", { type: "button", onclick: () => this.#copy() }, say("copy_report")));
    this.#timer = setInterval(() => this.#look(), EVERY_MS);
    this.#look();
  }

  disconnectedCallback() {
    clearInterval(this.#timer);
  }

  async #look() {
    const report = await this.source.statistics();
    if (!report || !this.isConnected) return;
    const now = sample(report, performance.now());
    if (this.#before) this.#rows = [...this.#rows, row(this.#before, now)].slice(-MOST);
    this.#before = now;
    this.#show(now);
  }

  #show(now) {
    const last = this.#rows.at(-1) ?? {};
    for (const [name, { plot, value }] of this.#cells) {
      write(value, figure(name, last[name]));
      const { points } = line(this.#rows.map((row) => row[name]), PLOT.width, PLOT.height);
      plot.firstChild.setAttribute("points", points);
    }
    list(this.#about, facts(now));
    list(this.#steps, hops(this.source.times));
  }

  async #copy() {
    const pairs = [
      ["", new Date().toISOString()], ...facts(this.#before ?? {}),
      ...Object.keys(FIGURES).map((name) => [say(`figure_${name}`),
        this.#rows.slice(-10).map((row) => figure(name, row[name])).join(", ") || "–"]),
      ...hops(this.source.times), ["", navigator.userAgent],
    ];
    const text = pairs.map(([name, value]) => (name ? `${name}: ${value}` : value)).join("\n");
    try {
      await navigator.clipboard.writeText(text);
      this.source.tell(say("report_copied"));
    } catch {
      this.source.tell(say("clipboard_refused"));
    }
  }
}

function plotOf() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${PLOT.width} ${PLOT.height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "polyline"));
  return svg;
}

function figure(name, value) {
  const [unit, places] = FIGURES[name];
  return value === undefined ? "–" : `${number(value, places)} ${unit}`;
}

function number(value, places) {
  const digits = { minimumFractionDigits: places, maximumFractionDigits: places };
  return value.toLocaleString(current(), digits);
}

function facts({ width, height, codec, path }) {
  return [
    [say("size"), width ? `${width} × ${height}` : "–"],
    [say("codec"), codec ?? "–"],
    [say("path"), path ? say(`path_${path.kind}`, { protocol: path.protocol,
      relay: path.relay ? ` ${path.relay}` : "" }) : "–"],
  ];
}

function hops(times) {
  return steps(times).map(({ name, milliseconds }) =>
    [say(`hop_${name}`), `${number(milliseconds, 0)} ms`]);
}

function list(element, pairs) {
  const text = pairs.flat().join("\n");
  if (element.dataset.shown === text) return;
  element.dataset.shown = text;
  element.replaceChildren(...pairs.flatMap(([name, value]) =>
    [make("dt", {}, name), make("dd", {}, value)]));
}

customElements.define("stream-statistics", Statistics);
