// Rows of one kind: listed once, and then kept by events, or listed again and again where there are
// none.

import { ONCE, follow } from "./poll.js";

// What changes meanwhile is told together.
const TOLD_EVERY_MS = 100;

export class RowStore {
  #key;
  #list;
  #holds;
  #relists;
  #rows = new Map();
  #loaded = false;
  // What is told by events while the list is read: it is put on top of it.
  #late;
  #changed = new Map();
  #due;
  #every;
  #followers = new Set();
  #following;

  /**
   * `list` returns all rows, `key` the key of one, and `holds` whether a row belongs here. With
   * `relists` a row that goes has all listed again, as the gateway may say more of it.
   */
  constructor({ list, key = (row) => row.id, holds = () => true, relists = false }) {
    this.#list = list;
    this.#key = key;
    this.#holds = holds;
    this.#relists = relists;
  }

  /**
   * Tells `tell` all rows, as a map by key; and after each change the map and what has changed in
   * it, by key, what is gone as `undefined`. Returns `{stop, again}`.
   */
  follow(tell, refused = () => {}) {
    const follower = { tell, refused };
    this.#followers.add(follower);
    if (this.#loaded) queueMicrotask(() => this.#followers.has(follower) && tell(this.#rows));
    else if (!this.#late) this.#following?.again();
    return {
      // Events tell it by themselves.
      again: () => this.#every === ONCE || this.#following?.again(),
      stop: () => {
        this.#followers.delete(follower);
        // Without events it grows old.
        if (!this.#followers.size && this.#every !== ONCE) this.#loaded = false;
      },
    };
  }

  /** Lists the rows `every` so many milliseconds from now on, while somebody follows them. */
  begin(every) {
    this.end();
    this.#every = every;
    this.#loaded = false;
    const read = () => {
      if (!this.#followers.size) return undefined;
      this.#late = new Map();
      return this.#list();
    };
    const refused = (error) => {
      // It may come.
      this.#loaded = error.status === 404;
      for (const follower of this.#followers) follower.refused(error);
    };
    this.#following = follow(read, (rows) => rows && this.#replace(rows), refused, every);
  }

  /** Asks no more, and forgets everything. */
  end() {
    this.#following?.stop();
    this.#following = undefined;
    this.#loaded = false;
    this.#rows = new Map();
    this.#forget();
  }

  /** Has all rows listed again, as some changes were not told. */
  reset() {
    this.#loaded = false;
    this.#following?.again();
  }

  /** Takes the present `row`. */
  put(row) {
    if (this.#holds(row)) this.#note(this.#key(row), row);
  }

  /** Takes that a row is gone, of which `row` says at least what its key is of. */
  remove(row) {
    const key = this.#key(row);
    if (!this.#rows.has(key) && !this.#late) return;
    if (this.#relists) this.#following?.again();
    else this.#note(key, undefined);
  }

  /** Takes that those rows are gone of which `test` says so. */
  removeAll(test) {
    for (const row of this.#rows.values()) if (test(row)) this.remove(row);
  }

  #note(key, row) {
    this.#late?.set(key, row);
    if (!this.#loaded) return;
    keep(this.#rows, key, row);
    if (!this.#followers.size) return;
    this.#changed.set(key, row);
    // Nobody sees what is changed between two frames.
    this.#due ??= setTimeout(() => requestAnimationFrame(() => this.#tell()), TOLD_EVERY_MS);
  }

  #tell() {
    this.#due = undefined;
    const changed = this.#changed;
    this.#changed = new Map();
    if (!changed.size) return;
    for (const { tell } of this.#followers) tell(this.#rows, changed);
  }

  #replace(listed) {
    this.#rows = new Map(listed.map((row) => [this.#key(row), row]));
    for (const [key, row] of this.#late) keep(this.#rows, key, row);
    this.#forget();
    this.#loaded = true;
    for (const { tell } of this.#followers) tell(this.#rows);
  }

  #forget() {
    this.#late = undefined;
    this.#changed = new Map();
  }
}

function keep(rows, key, row) {
  if (row) rows.set(key, row);
  else rows.delete(key);
}
