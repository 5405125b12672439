// What lies over the picture while there is none, or none that moves.

import { make } from "../console/dom.js";

/** Words, and what can be done, over a still of the last picture. */
export class Cover {
  still = make("canvas", { class: "still", hidden: true, "aria-hidden": "true" });
  #words = make("p", { class: "why" });
  #remedy = make("p", { class: "remedy" });
  #choices = make("div", { class: "choices" });
  #said = make("div", { role: "status" }, this.#words, this.#remedy);
  element = make("div", { class: "cover" },
    make("div", { class: "sheet" }, this.#said, this.#choices));

  /** Says `words`, and offers `choices`, each a text and what it does; `grave` interrupts a reader. */
  show(words, { remedy = "", choices = [], grave = false } = {}) {
    this.#said.setAttribute("role", grave ? "alert" : "status");
    this.#words.textContent = words;
    this.#remedy.textContent = remedy;
    this.#remedy.hidden = !remedy;
    this.#choices.replaceChildren(...choices.map(([text, act], n) =>
      make("button", { type: "button", class: n ? undefined : "primary", onclick: act }, text)));
    this.element.hidden = false;
  }

  hide() {
    this.element.hidden = true;
    this.still.hidden = true;
  }
}
