// What lies over the picture while there is none, or none that moves.

import { make, write } from "../console/dom.js";

const TICK_MS = 1_000;

/** Words, and what can be done, over a still of the last picture. */
export class Cover {
  still = make("canvas", { class: "still", hidden: true, "aria-hidden": "true" });
  #words = make("p", { class: "why" });
  #remedy = make("p", { class: "remedy" });
  // Not read aloud each second.
  #timer = make("p", { class: "timer", role: "timer", hidden: true });
  #choices = make("div", { class: "choices" });
  #said = make("div", { role: "status" }, this.#words, this.#remedy);
  element = make("div", { class: "cover" },
    make("div", { class: "sheet" }, this.#said, this.#timer, this.#choices));
  #acts = [];
  #ticks;

  /**
   * Says `words`, and offers `choices`, each a text and what it does; `grave` interrupts a reader.
   * What `timer()` returns stands below, and is asked for every second.
   */
  show(words, { remedy = "", choices = [], grave = false, timer } = {}) {
    this.#said.setAttribute("role", grave ? "alert" : "status");
    write(this.#words, words);
    write(this.#remedy, remedy);
    this.#remedy.hidden = !remedy;
    this.#offer(choices);
    clearInterval(this.#ticks);
    this.#timer.hidden = !timer;
    if (timer) {
      const tick = () => write(this.#timer, timer());
      this.#ticks = setInterval(tick, TICK_MS);
      tick();
    }
    this.element.hidden = false;
  }

  /** A button that says the same as before stays, with the focus that it may have. */
  #offer(choices) {
    this.#acts = choices.map(([, act]) => act);
    const texts = choices.map(([text]) => text);
    const shown = [...this.#choices.children].map(({ textContent }) => textContent);
    if (texts.join("\n") === shown.join("\n")) return;
    this.#choices.replaceChildren(...texts.map((text, n) => make("button",
      { type: "button", class: n ? undefined : "primary", onclick: () => this.#acts[n]() }, text)));
  }

  hide() {
    clearInterval(this.#ticks);
    this.element.hidden = true;
    this.still.hidden = true;
  }
}
