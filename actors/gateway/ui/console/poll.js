// What is asked for again and again while somebody looks, as no event tells of it.

import { isSignedIn } from "./account.js";
import { backoff } from "./backoff.js";
import { connection } from "./connection.js";

const EVERY_MS = 2_000;

// A list so long that it takes a while is asked for less often.
const REST = 3;

/** As an interval of `follow`: once, and then only when it is told to. */
export const ONCE = Infinity;

/**
 * Tells `tell` what `read` returns, now and every so many milliseconds, until `stop`; `again` has
 * it read at once. A refusal that waiting does not change goes to `refused`, and is the end unless
 * something was not found: that may come.
 */
export function follow(read, tell, refused = () => {}, every = EVERY_MS) {
  const source = {};
  let timer;
  let due = true;
  let stopped = false;
  let reading = false;
  let failures = 0;

  const round = async () => {
    clearTimeout(timer);
    if (!due || stopped || reading || document.hidden || !isSignedIn()) return;
    reading = true;
    due = false;
    const begun = performance.now();
    const pause = await attempt().finally(() => (reading = false));
    if (stopped) return;
    if (due) round();
    else if (pause !== ONCE) {
      timer = setTimeout(again, Math.max(pause, REST * (performance.now() - begun)));
    }
  };

  const again = () => {
    due = true;
    return round();
  };

  const attempt = async () => {
    try {
      const value = await read();
      if (stopped) return ONCE;
      failures = 0;
      connection.heard(source);
      tell(value);
      return every;
    } catch (error) {
      if (stopped) return ONCE;
      if (error.name !== "Refusal") throw error;
      if (error.status >= 400 && error.status < 500 && error.status !== 429) {
        if (error.status !== 404) stop();
        refused(error);
        return every;
      }
      const pause = backoff((failures += 1));
      connection.lost(source, pause);
      return pause;
    }
  };

  const seen = () => document.hidden || (every === ONCE ? round() : again());

  const stop = () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
    connection.leave(source);
  };

  document.addEventListener("visibilitychange", seen);
  round();
  return { again, stop };
}
