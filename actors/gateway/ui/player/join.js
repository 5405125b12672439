// Becomes the client of a session, as soon as that may be.

const BOOT_DEADLINE_MS = 120_000;
const BOOT_POLL_MS = 1_000;

/**
 * Joins session `id` through `api`, with a `screen` of its own if there is one; waits while it boots,
 * and while somebody controls a session that is only to be watched. `tell(step, turn)` is told of
 * these: `boots` and `occupied`, of which `turn` says more. Its `now()` has it asked for at once;
 * `next` and `free` are the moments of the page at which it is asked for again, and at which nobody
 * controls it any more at the latest, if that is known. Returns nothing once `aborted` is.
 */
export async function joinSession(api, id, { screen, tell, aborted }) {
  await booted(api, id, tell, aborted);
  let free;
  for (let waits = false; !aborted.aborted; waits = true) {
    try {
      return await api.join(id, screen);
    } catch (error) {
      const { status, retryAfter, metadata } = error;
      // While it waits, it may also ask in the same moment as another viewer.
      const may = status === 409 || (waits && status === 429);
      if (!may || !retryAfter) throw error;
      if (aborted.aborted) break;
      const at = performance.now();
      const { free_after_s: left } = metadata ?? {};
      if (status === 409) free = left === undefined ? undefined : at + left * 1000;
      await new Promise((resume) => {
        const timer = setTimeout(resume, retryAfter * 1000);
        const now = () => (clearTimeout(timer), resume());
        tell("occupied", { now, next: at + retryAfter * 1000, free });
      });
    }
  }
  return undefined;
}

/** Waits while the session is still being created: until then the gateway refuses to join it. */
async function booted(api, id, tell, aborted) {
  const deadline = Date.now() + BOOT_DEADLINE_MS;
  while (!aborted.aborted && (await api.session(id)).status === "created" && Date.now() < deadline) {
    tell("boots");
    await pause(BOOT_POLL_MS);
  }
}

/**
 * Returns session `id` as it is now, or null when there is none any more. A token that is no longer
 * taken is that of a session or of a share that has ended: its status is `closed`.
 */
export async function sessionNow(api, id) {
  try {
    return await api.session(id);
  } catch (error) {
    if (error.status === 404) return null;
    if (error.status === 401) return { status: "closed" };
    throw error;
  }
}

export function pause(milliseconds) {
  return new Promise((resume) => setTimeout(resume, milliseconds));
}
