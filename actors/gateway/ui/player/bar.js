// The bar at the lower edge: everything that is no tap on the picture.

import { make, set } from "../console/dom.js";
import { icon } from "./icons.js";
import { say } from "./texts.js";

const STAYS_MS = 3_000;

/**
 * The bar of a player. It shows itself when a pointer moves over `player` and while it has the focus,
 * and goes after a while; where there is no pointer, a handle opens and closes it.
 */
export class Bar {
  element = make("div", { class: "bar", role: "group" });
  handle = make("button", { type: "button", class: "handle", "aria-expanded": "false",
    onclick: () => this.open(!this.#open) }, icon("handle"));
  #buttons = new Map();
  // What each thing on the bar is called: its key in the texts.
  #names = new Map();
  #player;
  #open = false;
  #goes;

  constructor(player) {
    this.#player = player;
    this.speak();
    player.addEventListener("pointermove", ({ pointerType }) => {
      if (pointerType === "mouse") this.show();
    });
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#open) return;
      event.preventDefault();
      this.open(false);
    });
  }

  /** Takes everything off the bar. */
  clear() {
    this.#buttons.clear();
    this.#names.clear();
    this.element.replaceChildren();
  }

  /** Adds a button that is called by its name in the texts. */
  add(name, act, { pressed, grave } = {}) {
    const button = make("button", { type: "button", class: grave ? "grave" : undefined,
      "data-name": name, "aria-pressed": pressed === undefined ? undefined : String(pressed),
      onclick: act }, icon(name), make("span", { class: "word" }));
    this.#buttons.set(name, button);
    this.#call(button, name);
    this.element.append(button);
    return button;
  }

  /** Puts something else between the buttons, which is called by `name` in the texts. */
  append(element, name) {
    this.#call(element, name);
    this.element.append(element);
  }

  press(name, pressed) {
    set(this.#buttons.get(name), "aria-pressed", String(pressed));
  }

  /** Says something else on a button. */
  rename(name, key) {
    const button = this.#buttons.get(name);
    this.#call(button, key);
    button.firstChild.replaceWith(icon(key));
  }

  offer(name, there) {
    const button = this.#buttons.get(name);
    if (button) button.hidden = !there;
  }

  show() {
    this.#player.classList.add("moved");
    clearTimeout(this.#goes);
    this.#goes = setTimeout(() => this.#player.classList.remove("moved"), STAYS_MS);
  }

  open(open) {
    this.#open = open;
    this.#player.classList.toggle("opened", open);
    set(this.handle, "aria-expanded", String(open));
    this.#callHandle();
  }

  /** Calls everything by its name in the present language. */
  speak() {
    set(this.element, "aria-label", say("bar"));
    this.#callHandle();
    for (const [element, key] of this.#names) this.#call(element, key);
  }

  #call(element, key) {
    this.#names.set(element, key);
    element.title = say(key);
    const word = element.querySelector(".word");
    if (word) word.textContent = say(key);
    else set(element, "aria-label", say(key));
  }

  #callHandle() {
    set(this.handle, "aria-label", say(this.#open ? "bar_close" : "bar_open"));
  }
}
