// The player: the picture of a session and all that can be done to it, the same in the page, in the
// console and in a frame of somebody else's page.

import { make, set, write } from "../console/dom.js";
import { callComposer, fillBar } from "./actions.js";
import { Bar } from "./bar.js";
import { Control } from "./control.js";
import { gravity } from "./coordinates.js";
import { Cover } from "./cover.js";
import { Devices } from "./devices.js";
import { Keyboard } from "./keyboard.js";
import { Link } from "./link.js";
import { ending } from "./over.js";
import { keepInPage, stayAwake, still } from "./picture.js";
import { answerPointers, forwardPointers } from "./pointer.js";
import { Requests } from "./requests.js";
import { say } from "./texts.js";

const TOLD_MS = 3_000;

/**
 * `play(host)` begins, `stop()` leaves. A host has
 *
 * - `join({screen, tell, aborted})`, which returns where the stream is, and throws what is said;
 * - `role`, `control` or `view`, and `relayOnly`;
 * - `session()`, which returns the session as it is, or null when there is none any more;
 * - `fits`, whether a join may bring a screen of its own;
 * - `end` and `leave`, what the buttons of these names do, where they are to be there;
 * - `takeOver`, what somebody does who waits to watch and may control as well;
 * - `choices()`, what else is offered when it is over: pairs of a text and what it does.
 *
 * Each change of its `data-state` is told by an event `state`, with `{state, words, cause}`:
 * `connecting`, `playing`, `shaky`, `reconnecting` and `over`.
 */
export class Player extends HTMLElement {
  video = make("video", { autoplay: true, playsinline: true, muted: true });
  surface = make("div", { class: "surface", tabindex: "0", role: "application" }, this.video);
  control = new Control(() => this.#link?.control);
  turns = 0;
  bar;
  keyboard;
  devices;
  pointers;
  requests;
  host;
  #cover = new Cover();
  #link;
  #field = make("textarea", { class: "keys", tabindex: "-1", rows: "1", autocapitalize: "off",
    autocomplete: "off", spellcheck: "false" });
  #told = make("p", { class: "told", role: "status" });
  #toldUntil;
  #badge = make("p", { class: "badge" });
  #soundOffer = make("button", { type: "button", class: "sound", hidden: true,
    onclick: () => this.mute(false) });
  // Says once more how it ended, or what it waits for.
  #end = () => {};
  #awake = () => {};
  #gamepads;

  connectedCallback() {
    if (!this.bar) this.#build();
    addEventListener("pagehide", this.#hide);
    addEventListener("gamepadconnected", this.#plug);
    document.addEventListener("pointerlockchange", this.#locked);
  }

  disconnectedCallback() {
    removeEventListener("pagehide", this.#hide);
    removeEventListener("gamepadconnected", this.#plug);
    document.removeEventListener("pointerlockchange", this.#locked);
    this.stop();
  }

  get controls() {
    return this.host?.role === "control";
  }

  get times() {
    return this.#link?.times ?? new Map();
  }

  statistics() {
    return this.#link?.statistics();
  }

  play(host) {
    this.stop();
    this.host = host;
    this.dataset.role = host.role;
    this.#badge.hidden = this.controls;
    this.#end = () => {};
    this.#call();
    fillBar(this);
    const seen = [() => this.#view(), (event) => this.#touched(event)];
    this.pointers = this.controls ? forwardPointers(this.surface, this.control, ...seen) :
      answerPointers(this.surface, ...seen);
    this.#link = new Link(host.join, { relayOnly: host.relayOnly, sends: this.controls }, {
      step: (name, turn) => this.#step(name, turn),
      media: (media) => this.#show(media),
      connected: () => this.#connected(),
      shaky: () => this.#enter("shaky", say("shaky")),
      trying: (count) => this.#wait(say("reconnecting", { count })),
      message: (text) => this.controls && this.requests.hear(text),
      over: (cause, detail) => this.#over(cause, detail),
    });
    this.#enter("connecting", say("step_asked"));
    this.#cover.show(say("step_asked"));
    this.#link.start();
    if (gamepadThere()) this.#plug();
  }

  /** Leaves, and shows nothing any more; no event follows. */
  stop() {
    this.#letGo();
    this.#link?.close();
    this.#link = undefined;
    this.video.srcObject = null;
    delete this.dataset.state;
    this.turn(0);
    if (document.fullscreenElement === this) document.exitFullscreen();
    this.querySelector("stream-statistics")?.remove();
    this.#cover.hide();
  }

  /** Joins again, with a screen that fills the window if there is one. */
  again(screen) {
    this.#wait(say(screen ? "fitting" : "step_asked"));
    this.#link.start(screen);
  }

  /** Says why there is nothing to be seen. */
  explain(words, remedy) {
    this.#cover.show(words, { remedy, grave: true });
  }

  /** Says something for a moment. */
  tell(words) {
    clearTimeout(this.#toldUntil);
    write(this.#told, words);
    this.#toldUntil = setTimeout(() => write(this.#told, ""), TOLD_MS);
  }

  /** Says what it shows in the present language; the stream goes on. */
  speak() {
    this.#call();
    this.bar.speak();
    const panel = this.querySelector("stream-statistics");
    if (panel) this.append(panel);
    const composer = this.querySelector(".composer");
    if (composer) callComposer(composer);
    this.#end();
  }

  capture() {
    this.keyboard.capture(this.control);
  }

  mute(muted) {
    this.video.muted = muted;
    this.#soundOffer.hidden = true;
    this.bar.rename("sound_on", muted ? "sound_on" : "sound_off");
  }

  /** Shows the picture turned, and has the device know that it is held so. */
  turn(turns) {
    if (turns === this.turns) return;
    this.turns = turns;
    this.surface.dataset.turns = turns;
    if (this.controls) this.control.send("sensor:event", { sensor: "acceleration", ...gravity(turns) });
  }

  #build() {
    // Without it the browser does not play by itself; the attribute alone does not make it so.
    this.video.muted = true;
    keepInPage(this.video);
    this.bar = new Bar(this);
    this.keyboard = new Keyboard(this.#field, (...how) => this.#captured(...how));
    this.devices = new Devices((kind, track) => this.#link?.transmit(kind, track), {
      changed: (name, on) => this.bar.press(name, on),
      refused: (name, cause) => this.tell(say(`${name}_${cause}`)),
    });
    this.requests = new Requests(this);
    this.surface.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && this.controls) this.capture();
    });
    // The focus is the keyboard's.
    this.surface.addEventListener("mousedown", (event) => event.preventDefault());
    this.replaceChildren(this.surface, this.#cover.still, this.#field, this.#badge, this.#cover.element,
      this.#soundOffer, this.requests.element, this.#told, this.bar.handle, this.bar.element);
    this.video.addEventListener("playing", () => this.#playing());
    this.#cover.hide();
  }

  /** Calls its fixed parts by their names. */
  #call() {
    set(this.video, "aria-label", say("picture"));
    set(this.#field, "aria-label", say("keyboard_field"));
    set(this.surface, "aria-label", say(this.controls ? "surface" : "surface_view"));
    write(this.#badge, say("view_only"));
    write(this.#soundOffer, say("sound_offer"));
  }

  #view() {
    const { videoWidth: width, videoHeight: height } = this.video;
    return { box: this.surface.getBoundingClientRect(), picture: { width, height }, turns: this.turns };
  }

  #step(name, turn) {
    if (turn) return this.#waitForTurn(turn);
    this.#end = () => {};
    if (this.dataset.state === "connecting") {
      this.#cover.show(say(`step_${name}`));
      this.#enter("connecting", say(`step_${name}`));
    }
  }

  /** Says what somebody waits for who may only watch, how long, and what else there is to do. */
  #waitForTurn({ now, next, free }) {
    const { takeOver, leave, choices } = this.host;
    this.#end = () => {
      const words = say(free === undefined ? "step_occupied" : "step_reserved");
      this.#cover.show(words, {
        timer: () => timeLeft(free === undefined ? "next_try" : "at_latest", free ?? next),
        choices: [[say("try_now"), now], takeOver && [say("take_over"), takeOver],
          ...(leave ? [[say("leave"), leave]] : choices?.() ?? [])].filter(Boolean),
      });
      return words;
    };
    this.#enter(this.dataset.state, this.#end());
  }

  #show(media) {
    this.video.srcObject = media;
    this.#soundOffer.hidden = !this.video.muted;
  }

  #connected() {
    this.devices.resume();
    if (this.dataset.state === "shaky") this.#enter("playing", say("playing"));
    else if (this.dataset.state === "connecting") this.#cover.show(say("step_connected"));
  }

  #playing() {
    if (!this.#link) return;
    this.#link.showPicture();
    this.#cover.hide();
    this.#awake();
    this.#awake = stayAwake();
    this.#enter("playing", say("playing"));
    this.bar.show();
  }

  /** Keeps the last picture, dimmed, while there is none. */
  #wait(words) {
    if (this.dataset.state !== "reconnecting") {
      this.#cover.still.hidden = !still(this.video, this.#cover.still, this.turns);
    }
    this.#cover.show(words);
    this.#enter("reconnecting", words);
  }

  async #over(cause, detail) {
    const { host } = this;
    if (this.dataset.state !== "reconnecting") {
      this.#cover.still.hidden = !still(this.video, this.#cover.still, this.turns);
    }
    this.#letGo();
    const session = cause === "join" ? undefined : await host.session?.().catch(() => undefined);
    if (this.host !== host || !this.#link) return;
    this.#end = () => {
      const over = ending(cause, detail, session);
      const { why, remedy, again } = over;
      const choices = [...(again ? [[say("reconnect"), () => this.play(host)]] : []),
        ...(host.choices?.() ?? [])];
      this.#cover.show(why, { remedy, choices, grave: true });
      return over;
    };
    this.video.srcObject = null;
    const { why, cause: known } = this.#end();
    this.#enter("over", why, known, detail);
  }

  /** Gives back whatever it holds of the person's. */
  #letGo() {
    this.keyboard?.release();
    this.pointers?.stop();
    this.pointers = undefined;
    this.devices?.stop();
    this.#gamepads?.();
    this.#gamepads = undefined;
    this.requests?.close();
    this.#awake();
    this.#awake = () => {};
    this.bar?.open(false);
  }

  #enter(state, words, cause, error) {
    this.dataset.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, words, cause, error } }));
  }

  #touched({ pointerType, clientX, clientY }) {
    if (this.controls) {
      if (pointerType === "mouse") this.capture();
      else this.bar.open(false);
      return;
    }
    const { left, top } = this.getBoundingClientRect();
    const answer = make("span", { class: "answer", "aria-hidden": "true" }, say("view_only_short"));
    Object.assign(answer.style, { left: `${clientX - left}px`, top: `${clientY - top}px` });
    this.append(answer);
    setTimeout(() => answer.remove(), 900);
  }

  #captured(captured, left) {
    this.classList.toggle("captured", captured);
    this.bar.press("keyboard", captured);
    if (captured) this.tell(say("captured"));
    // Whoever has no pointer goes on from here.
    if (left) this.surface.focus({ preventScroll: true });
    // On the whole screen Escape is the browser's otherwise.
    if (captured && document.fullscreenElement) navigator.keyboard?.lock?.(["Escape"]).catch(() => {});
    else navigator.keyboard?.unlock?.();
  }

  #locked = () => {
    const locked = document.pointerLockElement === this.surface;
    this.classList.toggle("locked", locked);
    if (this.controls) this.bar.press("pointer", locked);
    if (locked) this.tell(say("locked"));
  };

  #plug = async () => {
    if (!this.controls || this.#gamepads) return;
    const { forwardGamepads } = await import("./gamepad.js");
    if (!this.#link || this.#gamepads) return;
    this.bar.offer("gamepad", true);
    this.toggleGamepads(forwardGamepads);
  };

  toggleGamepads(forward) {
    if (this.#gamepads) this.#gamepads();
    this.#gamepads = this.#gamepads ? undefined : forward(this.control);
    this.bar.press("gamepad", Boolean(this.#gamepads));
  }

  #hide = () => this.#link?.disconnect();
}

/** Returns how long it is until a moment of the page, in words of this name. */
function timeLeft(name, moment) {
  const seconds = Math.ceil((moment - performance.now()) / 1000);
  return seconds > 0 ? say(name, { seconds }) : say("asks");
}

// A frame that is not allowed to see them is refused with an exception.
function gamepadThere() {
  try {
    return navigator.getGamepads().some(Boolean);
  } catch {
    return false;
  }
}

customElements.define("stream-player", Player);
