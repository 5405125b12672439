// Which sessions are shown, and in which order. What changes in one costs no walk through all.
// Nothing here touches the page.

// A session that is over is still shown where it was, for so long.
const LINGER_MS = 8_000;

// With more changes at once than this, all is sorted anew.
const FEW = 2_000;

const ORDER = ["error", "created", "active", "terminating", "terminated"];

const KEYS = {
  made: (row) => row.place,
  status: (row) => ORDER.indexOf(row.status),
  app: (row) => row.app.toLowerCase(),
  region: (row) => row.region,
  age: (row) => -row.created_at,
  agent: (row) => row.agent ?? "",
  client: (row) => String(row.client ?? ""),
  message: (row) => row.status_message.toLowerCase(),
  id: (row) => row.id,
};

export class SessionList {
  #rows = new Map();
  #gone = new Map();
  #shown = [];
  #counts = { all: 0 };
  #places = 0;
  #sort = "made";
  #descending = true;
  #status = "";
  #words = [];
  #text = "";

  /**
   * Takes the sessions there are now, by id, the oldest first; with `changed` only what differs,
   * where one that is over is `undefined`.
   */
  take(sessions, changed, now = Date.now()) {
    if (changed && changed.size <= FEW) {
      for (const [id, session] of changed) this.#change(id, session, now);
      return;
    }
    for (const session of sessions.values()) this.#put(session);
    for (const id of this.#rows.keys()) if (!sessions.has(id)) this.#end(id, now);
    this.#arrange();
  }

  /** Forgets those that have been over for a while; returns whether there were any. */
  sweep(now = Date.now()) {
    // They are in the order in which they went.
    let swept = false;
    for (const [id, until] of this.#gone) {
      if (until > now) break;
      this.#gone.delete(id);
      this.#change(id, undefined, now);
      swept = true;
    }
    return swept;
  }

  /** Says what is to be shown; returns whether that is a change. */
  ask({ sort = "made", descending = true, status = "", text = "" }) {
    const resorted = sort !== this.#sort || descending !== this.#descending;
    const changed = resorted || status !== this.#status || text !== this.#text;
    [this.#sort, this.#descending, this.#status, this.#text] = [sort, descending, status, text];
    this.#words = text.toLowerCase().split(/\s+/).filter(Boolean);
    if (resorted) for (const row of this.#rows.values()) row.by = this.#keyOf(row);
    if (changed) this.#arrange();
    return changed;
  }

  /**
   * Makes ready for a filter so many sessions as `most` says, which the first filter would have to do
   * for all; returns whether there may be more.
   */
  prepare(most) {
    let left = most;
    for (const row of this.#rows.values()) {
      if (left === 0) return true;
      if (row.text !== undefined) continue;
      row.text = textOf(row);
      left -= 1;
    }
    return false;
  }

  /** How many sessions there have been: one that comes has at least this as its `place`. */
  get places() {
    return this.#places;
  }

  /** Returns the session `id`. */
  find(id) {
    return this.#rows.get(id);
  }

  /** How many sessions have each status. */
  counts() {
    return this.#counts;
  }

  /** Returns the rows to be shown, in order. */
  shown() {
    return this.#shown;
  }

  #change(id, session, now) {
    const before = this.#rows.get(id);
    const at = before && this.#find(before);
    if (session) this.#put(session);
    else this.#end(id, now);
    const row = this.#rows.get(id);
    const is = row && this.#matches(row);
    if (at !== undefined && is) this.#shown[at] = row;
    else if (at !== undefined) this.#shown.splice(at, 1);
    else if (is) this.#shown.splice(this.#placeOf(row), 0, row);
  }

  #put(session) {
    const before = this.#rows.get(session.id);
    const row = { ...session, place: before?.place ?? this.#places++ };
    // By what it was sorted when it came: it keeps its place while it changes.
    row.by = before ? before.by : this.#keyOf(row);
    this.#gone.delete(session.id);
    this.#count(before, row);
    this.#rows.set(session.id, row);
  }

  #end(id, now) {
    const before = this.#rows.get(id);
    if (!before) return;
    if (before.gone) {
      if (!this.#gone.has(id)) this.#rows.delete(id);
      return;
    }
    const row = { ...before, gone: true, was: before.status, status: "terminated" };
    row.text = undefined;
    this.#count(before, undefined);
    this.#gone.set(id, now + LINGER_MS);
    this.#rows.set(id, row);
  }

  #count(before, row) {
    const counts = this.#counts;
    if (before && !before.gone) {
      counts.all -= 1;
      counts[before.status] -= 1;
    }
    if (row) {
      counts.all += 1;
      counts[row.status] = (counts[row.status] ?? 0) + 1;
    }
  }

  #arrange() {
    const rows = [...this.#rows.values()].filter((row) => this.#matches(row));
    this.#shown = rows.sort((one, other) => this.#compare(one, other));
  }

  #keyOf(row) {
    return (KEYS[this.#sort] ?? KEYS.made)(row);
  }

  #compare(one, other) {
    if (one.by === other.by) return other.place - one.place;
    return one.by < other.by === this.#descending ? 1 : -1;
  }

  /** Where `row` is to be among those that are shown. */
  #placeOf(row) {
    let [low, high] = [0, this.#shown.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#compare(this.#shown[middle], row) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Where `row` is shown. */
  #find(row) {
    const place = this.#placeOf(row);
    return this.#shown[place]?.id === row.id ? place : undefined;
  }

  #matches(row) {
    // One that was in sight when it ended leaves a moment later.
    if (this.#status && (row.was ?? row.status) !== this.#status) return false;
    if (!this.#words.length) return true;
    row.text ??= textOf(row);
    return this.#words.every((word) => row.text.includes(word));
  }
}

/** Returns what a filter looks at. */
function textOf(row) {
  const place = `${row.region} ${row.agent ?? ""} ${row.container_id ?? ""} ${row.cluster_id ?? ""}`;
  return `${row.id} ${row.app} ${row.status} ${row.status_message} ${place}`.toLowerCase();
}
