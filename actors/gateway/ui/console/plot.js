// A small line over the last minutes, with its present value beside it.

import { draw, make, write } from "./dom.js";
import { say } from "./texts.js";

const WIDTH = 240;
const HEIGHT = 56;

/** Shows one figure: its name, its present value, and a line of how it was. */
export class Plot {
  element;
  #value = make("dd", {});
  #box = make("div", { class: "plot-line" });
  #most = make("span", { class: "muted" });
  #words;

  /** `words` returns the text of a value. */
  constructor(name, words) {
    this.#words = words;
    this.element = make("div", { class: "plot" },
      make("dl", {}, make("dt", {}, name), this.#value), this.#box, this.#most);
  }

  /**
   * Shows `points`, each `{at, value}` with `at` in milliseconds, from `earliest` until `to`; over
   * the time that they cover as long as that is shorter.
   */
  show(points, earliest, to) {
    const known = points.filter(({ at, value }) => at >= earliest && value !== undefined);
    const from = known.length > 1 ? known[0].at : earliest;
    const last = points.at(-1)?.value;
    write(this.#value, last === undefined ? "–" : this.#words(last));
    const most = Math.max(0, ...known.map(({ value }) => value));
    write(this.#most, known.length > 1 ? say("plot_most", { value: this.#words(most) }) : "");
    const x = (at) => (((at - from) / (to - from)) * WIDTH).toFixed(1);
    const y = (value) => (HEIGHT - 2 - (most ? value / most : 0) * (HEIGHT - 6)).toFixed(1);
    const line = known.map(({ at, value }) => `${x(at)},${y(value)}`).join(" ");
    const base = ["line", { x1: 0, y1: HEIGHT - 1, x2: WIDTH, y2: HEIGHT - 1, class: "plot-base" }];
    const drawing = draw(`0 0 ${WIDTH} ${HEIGHT}`, "plot-drawing", base,
      ["polyline", { points: line, class: "plot-curve" }]);
    // As wide as there is room.
    drawing.setAttribute("preserveAspectRatio", "none");
    this.#box.replaceChildren(drawing);
  }
}
