// The keyboard, while the application has it: keys as keys, and as text what input methods write. A
// field that nobody sees takes them, which also has phones show theirs.

import { ESCAPE, meaning } from "./keys.js";

/** Two presses of Escape within so long give the keyboard back. */
const TWICE_MS = 600;

// The key codes of Android that an input method sends to correct.
const ANDROID_ENTER = 66;
const ANDROID_DELETE = 67;

/** A character to delete: phones tell of a key that deletes only where there is something. */
const SPARE = "\u200b";

export class Keyboard {
  #field;
  #control;
  #change;
  #held = new Map();
  #escaped = -Infinity;
  #listening;

  /**
   * `field` takes the keys; `change(captured, left)` is told when the application gets or loses them,
   * and then whether that leaves the focus nowhere.
   */
  constructor(field, change) {
    this.#field = field;
    this.#change = change;
  }

  get captured() {
    return Boolean(this.#listening);
  }

  /** Gives the application the keyboard, of which `control` tells it. */
  capture(control) {
    this.#control = control;
    if (!this.#listening) {
      this.#listening = new AbortController();
      this.#listen(this.#listening.signal);
      this.#change(true);
    }
    this.#clear();
    this.#field.focus({ preventScroll: true });
  }

  release() {
    if (!this.#listening) return;
    this.#listening.abort();
    this.#listening = undefined;
    for (const code of this.#held.values()) this.#control.key(code, false);
    this.#held.clear();
    const left = document.activeElement === this.#field;
    this.#field.blur();
    this.#change(false, left);
  }

  #listen(signal) {
    const on = (name, handler) => this.#field.addEventListener(name, handler, { signal });
    on("keydown", (event) => this.#down(event));
    on("keyup", (event) => this.#up(event));
    on("paste", (event) => {
      event.preventDefault();
      this.#control.write(event.clipboardData.getData("text/plain"));
    });
    on("compositionupdate", ({ data }) => this.#control.compose(data));
    on("compositionend", ({ data }) => {
      if (!data) this.#control.compose("");
      this.#control.write(data);
      this.#clear();
    });
    on("beforeinput", (event) => this.#edit(event));
    on("input", ({ isComposing }) => isComposing || this.#clear());
    on("blur", () => this.release());
  }

  #down(event) {
    // Pasting is the browser's: the text comes by itself.
    const pastes = (event.ctrlKey || event.metaKey) && event.code === "KeyV";
    if (pastes && !event.altKey) return;
    const means = meaning(event);
    if (!means) return;
    event.preventDefault();
    if (means.text) return this.#control.write(means.text);
    if (means.code === ESCAPE && !event.repeat) {
      const twice = event.timeStamp - this.#escaped < TWICE_MS;
      this.#escaped = event.timeStamp;
      if (twice) return this.release();
    }
    this.#held.set(event.code, means.code);
    this.#control.key(means.code, true);
  }

  #up(event) {
    const code = this.#held.get(event.code);
    if (code === undefined) return;
    event.preventDefault();
    this.#held.delete(event.code);
    // Left and right may be one key there.
    if (![...this.#held.values()].includes(code)) this.#control.key(code, false);
  }

  // What no key event told: a phone's keyboard, what was dictated, a correction.
  #edit(event) {
    const { inputType, data, isComposing } = event;
    if (isComposing || inputType === "insertCompositionText") return;
    event.preventDefault();
    if (inputType.startsWith("delete")) return this.#control.editKey(ANDROID_DELETE);
    if (inputType === "insertLineBreak" || inputType === "insertParagraph") {
      return this.#control.editKey(ANDROID_ENTER);
    }
    this.#control.write(data ?? event.dataTransfer?.getData("text/plain"));
  }

  #clear() {
    this.#field.value = SPARE;
    this.#field.setSelectionRange(SPARE.length, SPARE.length);
  }
}
