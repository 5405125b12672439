// Where the bars of a time line stand. Pure.

// What a session does until its client is there.
export const START = ["create", "place", "launch", "boot", "offer", "answer"];

/**
 * Returns where the start of a session begins and ends, in Unix milliseconds, and which entries are
 * on the way: of each hop the first, until a client is there or the session ends; and the first
 * picture of that client, if it tells of one.
 */
export function axisOf(entries) {
  const on = new Map();
  let there = false;
  for (const entry of entries) {
    const { hop } = entry;
    if (hop === "end" || (there && hop === "join")) break;
    there ||= hop === "client";
    const counts = hop === "frame" || (!there && START.includes(hop) && !on.has(hop));
    if (counts) on.set(hop, entry);
    if (hop === "frame") break;
  }
  const way = [...on.values()];
  // A client says itself since when it waits, so that is no place to begin at.
  const from = Math.min(...way.map((entry) => entry.hop === "frame" ? entry.at_ms : begin(entry)));
  const to = Math.max(...way.map((entry) => entry.at_ms));
  return { from, length: Math.max(1, to - from), has: (entry) => way.includes(entry) };
}

/** Returns when the entry's hop began. */
export function begin(entry) {
  return entry.at_ms - (entry.took_ms ?? 0);
}

// Credentials are renewed for as long as a session lives, and say the same each time.
const REPEATED = "ice";

/**
 * Returns the rows of a time line, each a list of entries: every entry for itself, but credentials
 * that were given without a complaint in one, where the first of them was.
 */
export function rowsOf(entries) {
  const rows = [];
  let repeated;
  for (const entry of entries) {
    const repeats = entry.hop === REPEATED && !entry.failed && !entry.text.includes(", but ");
    if (repeats && repeated) repeated.push(entry);
    else rows.push([entry]);
    if (repeats) repeated ??= rows.at(-1);
  }
  return rows;
}
