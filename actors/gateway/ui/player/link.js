// The way to the stream of a session: joins, connects, and does so again when a connection is lost.

import { Stream } from "../stream.js";
import { pause } from "./join.js";

// How long to wait before each try; the relay or the network may be back soon.
const PAUSES_MS = [0, 1_000, 2_000, 4_000, 8_000, 8_000];

/** What another try may get over. */
const PASSING = ["lost", "no_path", "socket"];

/**
 * `join({screen, tell, aborted})` returns where the stream is. `events` is told of `step(name)`
 * with what is known of it, `media(stream)`, `connected()`, `shaky()`, `trying(count)`, `message(text)`, and at the end of
 * `over(cause, detail)`; the causes are those of a stream, `left`, and `join` with what was thrown.
 */
export class Link {
  #join;
  #options;
  #events;
  #stream;
  #round = new AbortController();
  #tries = 0;
  #played = false;
  /** When each step was reached, in milliseconds of the page. */
  times = new Map();

  constructor(join, options, events) {
    this.#join = join;
    this.#options = options;
    this.#events = events;
  }

  get control() {
    return this.#stream?.control;
  }

  statistics() {
    return this.#stream?.statistics();
  }

  transmit(kind, track) {
    return this.#stream?.transmit(kind, track);
  }

  /** Joins, with a screen of its own if there is one; whatever there was is over. */
  async start(screen) {
    this.#hangUp();
    const { signal: aborted } = this.#round;
    this.times.clear();
    this.#step("asked");
    let joined;
    try {
      joined = await this.#join({ screen, tell: (...step) => this.#events.step(...step), aborted });
    } catch (error) {
      if (aborted.aborted) return;
      if (this.#tries && isPassing(error)) return this.#again("join", error);
      return this.#events.over("join", error);
    }
    if (!joined || aborted.aborted) return;
    this.#step("joined");
    this.#open(joined);
  }

  /** Notes that there is a picture, and has the gateway know how long the first one took. */
  showPicture() {
    if (!this.#stream || this.times.has("picture")) return;
    this.times.set("picture", performance.now());
    this.#stream.tellFirstFrame(this.times.get("picture") - this.times.get("asked"));
  }

  /** Leaves: the application is told, and no event follows. */
  close() {
    this.#stream?.disconnect();
    this.#hangUp();
  }

  /** Tells the application that nobody watches any more, as long as there is time for it. */
  disconnect() {
    this.#stream?.disconnect();
  }

  #open({ url, stun_servers: stunServers }) {
    this.#stream = new Stream({ url, stunServers, ...this.#options }, {
      step: (name) => this.#step(name),
      media: (stream) => this.#events.media(stream),
      message: (text) => this.#events.message(text),
      connected: () => {
        this.#played = true;
        this.#tries = 0;
        if (!this.times.has("connected")) this.#step("connected");
        this.#events.connected();
      },
      shaky: () => this.#events.shaky(),
      failed: (cause, detail) => {
        if (this.#played && PASSING.includes(cause)) return this.#again(cause, detail);
        return this.#events.over(cause, detail);
      },
      left: () => this.#events.over("left"),
    });
  }

  async #again(cause, detail) {
    const wait = PAUSES_MS[this.#tries];
    if (wait === undefined) return this.#events.over(cause, detail);
    this.#tries += 1;
    this.#events.trying(this.#tries);
    const { signal } = this.#round;
    await pause(wait);
    if (!signal.aborted) await this.start();
  }

  #hangUp() {
    this.#round.abort();
    this.#round = new AbortController();
    this.#stream?.close();
    this.#stream = undefined;
  }

  #step(name) {
    this.times.set(name, performance.now());
    this.#events.step(name);
  }
}

function isPassing({ status }) {
  return status === 0 || status === undefined || status === 429 || status >= 500;
}
