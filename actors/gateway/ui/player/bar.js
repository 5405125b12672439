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
  element = make("div", { class: "bar", role: "group", "aria-label": say("bar") });
  handle = make("button", { type: "button", class: "handle", "aria-expanded": "false",
    "aria-label": say("bar_open"), onclick: () => this.open(!this.#open) }, icon("handle"));
  #buttons = new Map();
  #player;
  #open = false;
  #goes;

  constructor(player) {
    this.#player = player;
    player.addEventListener("pointermove", ({ pointerType }) => {
      if (pointerType === "mouse") this.show();
    });
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#open) return;
      event.preventDefault();
      this.open(false);
    });
  }

  /** Adds a button that is called by its name in the texts. */
  add(name, act, { pressed, grave } = {}) {
    const words = say(name);
    const button = make("button", { type: "button", title: words, class: grave ? "grave" : undefined,
      "data-name": name, "aria-pressed": pressed === undefined ? undefined : String(pressed),
      onclick: act }, icon(name), make("span", { class: "word" }, words));
    this.#buttons.set(name, button);
    this.element.append(button);
    return button;
  }

  /** Puts something else between the buttons. */
  append(element) {
    this.element.append(element);
  }

  press(name, pressed) {
    set(this.#buttons.get(name), "aria-pressed", String(pressed));
  }

  /** Says something else on a button. */
  rename(name, key) {
    const button = this.#buttons.get(name);
    button.title = say(key);
    button.querySelector(".word").textContent = say(key);
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
    set(this.handle, "aria-label", say(open ? "bar_close" : "bar_open"));
  }
}
