// The stream of what changes at the gateway. It comes back by itself when it is lost, and lets go
// while nobody looks.

import { openEvents } from "./account.js";
import { backoff } from "./backoff.js";
import { connection } from "./connection.js";
import { EventText } from "./event_text.js";

// The gateway says something every 15 s.
const SILENCE_MS = 35_000;
const OPENS_WITHIN_MS = 5_000;
const HIDDEN_MS = 30_000;
// One that ends sooner did not do well.
const GOOD_AFTER_MS = 10_000;

// Without the right, at an older gateway, with too many streams of the token already.
const NOT_GIVEN = [403, 404, 429];

export class EventStream {
  #listener;
  #last;
  #failures = 0;
  #running = false;
  #away = false;
  #everSpoke = false;
  #abort;
  #timer;
  #silence;
  #hidden;
  #seen = () => this.#look();

  /**
   * Tells `listener` of each event by `event({name, data})`, of each time that the stream is there
   * (again) by `opened`, and by `refused` that there is none, which ends it.
   */
  constructor(listener) {
    this.#listener = listener;
  }

  start() {
    if (this.#running) return;
    this.#running = true;
    this.#away = false;
    this.#last = undefined;
    document.addEventListener("visibilitychange", this.#seen);
    this.#connect();
  }

  stop() {
    this.#running = false;
    document.removeEventListener("visibilitychange", this.#seen);
    clearTimeout(this.#hidden);
    this.#letGo();
    connection.leave(this);
  }

  #letGo() {
    clearTimeout(this.#timer);
    clearTimeout(this.#silence);
    this.#abort?.abort();
    this.#abort = undefined;
  }

  #look() {
    clearTimeout(this.#hidden);
    if (document.hidden) {
      this.#hidden = setTimeout(() => {
        this.#away = true;
        this.#letGo();
        connection.lost(this, 0);
      }, HIDDEN_MS);
    } else if (this.#away || !this.#abort) {
      this.#away = false;
      this.#connect();
    }
  }

  async #connect() {
    this.#letGo();
    const abort = (this.#abort = new AbortController());
    const begun = performance.now();
    let opened = false;
    let spoke = false;
    let failure;
    try {
      this.#expect(abort, OPENS_WITHIN_MS);
      const body = await openEvents(this.#last, abort.signal);
      this.#expect(abort, SILENCE_MS);
      opened = true;
      connection.heard(this);
      this.#listener.opened();
      await this.#read(body, () => {
        spoke = this.#everSpoke = true;
        connection.heard(this);
        this.#expect(abort, SILENCE_MS);
      });
    } catch (error) {
      failure = error;
    }
    // Another one has taken its place, or it was let go.
    if (this.#abort !== abort) return;
    // What is on the way may keep events back for good.
    const silent = abort.signal.aborted && !spoke;
    const held = silent && (opened || !this.#everSpoke);
    if (held || NOT_GIVEN.includes(failure?.status)) {
      this.stop();
      return this.#listener.refused();
    }
    this.#letGo();
    this.#failures = performance.now() - begun > GOOD_AFTER_MS ? 1 : this.#failures + 1;
    const pause = backoff(this.#failures);
    connection.lost(this, pause);
    this.#timer = setTimeout(() => this.#connect(), pause);
  }

  async #read(body, heard) {
    const text = new EventText();
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      for (const event of text.read(value)) {
        this.#listener.event(event);
        this.#last = event.id ?? this.#last;
      }
    }
  }

  #expect(abort, within) {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => abort.abort(), within);
  }
}
