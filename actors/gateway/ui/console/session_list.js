// Which sessions are shown, and in which order. Nothing here touches the page.

// A session that is over is still shown where it was, for so long.
const LINGER_MS = 8_000;

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
  // By what each row was sorted when it came: it keeps its place while it changes.
  #sortedBy = new Map();
  #places = 0;
  #sort = "made";
  #descending = true;
  #status = "";
  #text = "";

  /** Takes all sessions there are now, the oldest first. */
  take(sessions, now = Date.now()) {
    const rows = new Map();
    for (const session of sessions) {
      const place = this.#rows.get(session.id)?.place ?? this.#places++;
      rows.set(session.id, { ...session, place });
      this.#gone.delete(session.id);
    }
    for (const [id, row] of this.#rows) {
      if (!rows.has(id) && !row.gone) this.#gone.set(id, now + LINGER_MS);
      const until = this.#gone.get(id);
      if (rows.has(id) || !(until > now)) continue;
      rows.set(id, { ...row, gone: true, was: row.was ?? row.status, status: "terminated" });
    }
    this.#rows = rows;
    for (const id of this.#sortedBy.keys()) if (!rows.has(id)) this.#sortedBy.delete(id);
  }

  /** Says what is to be shown; returns whether that is a change. */
  ask({ sort = "made", descending = true, status = "", text = "" }) {
    const resorted = sort !== this.#sort || descending !== this.#descending;
    const changed = resorted || status !== this.#status || text !== this.#text;
    [this.#sort, this.#descending, this.#status, this.#text] = [sort, descending, status, text];
    if (resorted) this.#sortedBy.clear();
    return changed;
  }

  /** Returns the session `id`. */
  find(id) {
    return this.#rows.get(id);
  }

  /** How many sessions have each status. */
  counts() {
    const counts = { all: 0 };
    for (const { status, gone } of this.#rows.values()) {
      if (gone) continue;
      counts.all += 1;
      counts[status] = (counts[status] ?? 0) + 1;
    }
    return counts;
  }

  /** Returns the rows to be shown, in order. */
  shown() {
    const words = this.#text.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = [...this.#rows.values()].filter((row) => this.#matches(row, words));
    const key = KEYS[this.#sort] ?? KEYS.made;
    for (const row of chosen) {
      if (!this.#sortedBy.has(row.id)) this.#sortedBy.set(row.id, key(row));
    }
    const sign = this.#descending ? -1 : 1;
    return chosen.sort((one, other) => {
      const [a, b] = [this.#sortedBy.get(one.id), this.#sortedBy.get(other.id)];
      if (a !== b) return a < b ? -sign : sign;
      return other.place - one.place;
    });
  }

  #matches(row, words) {
    // One that was in sight when it ended leaves a moment later.
    if (this.#status && (row.was ?? row.status) !== this.#status) return false;
    if (!words.length) return true;
    const text = [row.id, row.app, row.region, row.status, row.status_message, row.agent,
      row.container_id, row.cluster_id].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  }
}
