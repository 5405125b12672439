// What the application asks for, and what is asked before it is done.

import { make } from "../console/dom.js";
import { heard } from "./control.js";
import { say } from "./texts.js";

export class Requests {
  element = make("div", { class: "ask", hidden: true });
  #player;

  constructor(player) {
    this.#player = player;
  }

  /** Does what the application says in `text`, as far as that is known here. */
  hear(text) {
    const { type, data } = heard(text);
    const { devices, keyboard } = this.#player;
    // Who has a pointer has given it the keyboard by a click.
    const byFinger = matchMedia("(pointer: coarse)").matches;
    const acts = {
      "show-ime": () => byFinger && this.#player.capture(),
      "hide-ime": () => byFinger && keyboard.release(),
      "open-camera": () => this.#askFor("camera", data),
      "close-camera": () => devices.turnOff("camera"),
      "enable-microphone": () => this.#askFor("microphone", data),
      "disable-microphone": () => devices.turnOff("microphone"),
    };
    if (Object.hasOwn(acts, type)) acts[type]();
  }

  /** Asks something over the picture; `choices` are pairs of a text and what it does. */
  ask(question, choices) {
    const buttons = choices.map(([text, act]) => make("button", { type: "button", onclick: () => {
      this.close();
      act();
    } }, text));
    this.element.replaceChildren(make("p", { role: "status" }, question), ...buttons);
    this.element.hidden = false;
  }

  close() {
    this.element.hidden = true;
  }

  /** Asks before the application gets what it asks for. */
  #askFor(name, wanted) {
    const { devices } = this.#player;
    if (devices.isOn(name)) return;
    this.ask(say(`${name}_asked`), [
      [say(`${name}_allow`), () => devices.turnOn(name, wanted ?? {})], [say("not_now"), () => {}],
    ]);
  }
}
