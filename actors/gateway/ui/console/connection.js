// How fresh what is shown is, whoever asks for it.

const STALE_AFTER_MS = 10_000;

class Connection extends EventTarget {
  // When each was heard last that asks, and when it asks again, if it was not answered.
  #sources = new Map();

  /** `live`, `reconnecting`, or `stale` when that takes long. */
  get state() {
    if (!this.#lost.length) return "live";
    return Date.now() - this.since > STALE_AFTER_MS ? "stale" : "reconnecting";
  }

  /** Since when what is shown may be old. */
  get since() {
    return Math.min(Date.now(), ...this.#lost.map(({ since }) => since));
  }

  /** When the gateway is asked again. */
  get retryAt() {
    return Math.min(...this.#lost.map(({ retryAt }) => retryAt));
  }

  /** Notes that the gateway has answered `source`. */
  heard(source) {
    const before = this.#sources.get(source);
    this.#sources.set(source, { since: Date.now(), retryAt: 0 });
    if (before?.retryAt) this.#tell();
  }

  /** Notes that the gateway is away from `source`, which asks again after `pause` milliseconds. */
  lost(source, pause) {
    const since = this.#sources.get(source)?.since ?? Date.now();
    this.#sources.set(source, { since, retryAt: Date.now() + pause });
    this.#tell();
  }

  /** Notes that `source` asks no more. */
  leave(source) {
    const before = this.#sources.get(source);
    this.#sources.delete(source);
    if (before?.retryAt) this.#tell();
  }

  get #lost() {
    return [...this.#sources.values()].filter(({ retryAt }) => retryAt);
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}

/** Tells `change` when the gateway goes or comes. */
export const connection = new Connection();
