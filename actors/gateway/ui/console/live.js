// What the gateway knows, kept fresh while somebody looks. Whoever uses this is told of whole
// values and need not know that they are asked for again and again: a stream of events may take its
// place.

import { ask, isSignedIn } from "./account.js";

const EVERY_MS = 2_000;
const STALE_AFTER_MS = 10_000;
const LONGEST_PAUSE_MS = 8_000;
const PAGE = 1_000;

// A list so long that it takes a while is asked for less often.
const REST = 3;

/** How fresh what is shown is; tells `change`. */
export const connection = Object.assign(new EventTarget(), {
  state: "live",
  since: Date.now(),
  retryAt: 0,
});

/**
 * Tells `tell` what `read` returns, now and whenever it may have changed, until `stop`; `again` has
 * it read at once. A refusal that waiting does not change goes to `refused`, and is the end unless
 * something was not found: that may come.
 */
export function follow(read, tell, refused = () => {}, every = EVERY_MS) {
  let timer;
  let stopped = false;
  let reading = false;
  let failures = 0;

  const round = async () => {
    clearTimeout(timer);
    if (stopped || reading || document.hidden || !isSignedIn()) return;
    reading = true;
    const begun = performance.now();
    const pause = await attempt().finally(() => (reading = false));
    if (stopped || pause === undefined) return;
    timer = setTimeout(round, Math.max(pause, REST * (performance.now() - begun)));
  };

  const attempt = async () => {
    try {
      const value = await read();
      if (stopped) return undefined;
      failures = 0;
      heard();
      tell(value);
      return every;
    } catch (error) {
      if (stopped) return undefined;
      if (error.name !== "Refusal") throw error;
      if (error.status >= 400 && error.status < 500 && error.status !== 429) {
        refused(error);
        stopped = error.status !== 404;
        return every;
      }
      failures += 1;
      const due = Math.min(1_000 * 2 ** (failures - 1), LONGEST_PAUSE_MS);
      // All consoles lose a gateway in one moment, and must not come back in one.
      const pause = due * (0.75 + Math.random() / 2);
      lost(pause);
      return pause;
    }
  };

  const seen = () => document.hidden || round();
  document.addEventListener("visibilitychange", seen);
  round();
  return {
    again: round,
    stop() {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    },
  };
}

/**
 * Tells `rows` all sessions, the oldest first; with `ended` those that are over instead. Returns
 * `{stop, again}`.
 */
export function subscribe(rows, { ended = false, refused } = {}) {
  return follow(() => everySession(ended), rows, refused);
}

async function everySession(ended) {
  const status = ended ? "&status=terminated" : "";
  const found = new Map();
  for (let offset = 0; ; offset += PAGE) {
    const page = await ask("GET", `sessions?recursion=1&limit=${PAGE}&offset=${offset}${status}`);
    // One that ends while the pages are read moves the others by a place.
    for (const session of page.metadata) found.set(session.id, session);
    if (page.metadata.length < PAGE) return [...found.values()];
  }
}

function heard() {
  connection.since = Date.now();
  if (connection.state === "live") return;
  connection.state = "live";
  connection.dispatchEvent(new Event("change"));
}

function lost(pause) {
  const late = Date.now() - connection.since > STALE_AFTER_MS;
  connection.state = late ? "stale" : "reconnecting";
  connection.retryAt = Date.now() + pause;
  connection.dispatchEvent(new Event("change"));
}
