// How long to wait before the gateway is asked again.

const FIRST_MS = 250;
const LONGEST_MS = 8_000;

/** Returns the pause, in milliseconds, after so many failures in a row. */
export function backoff(failures) {
  const due = Math.min(FIRST_MS * 2 ** (failures - 1), LONGEST_MS);
  // All consoles lose a gateway in one moment, and must not come back in one.
  return due * (0.5 + Math.random());
}
