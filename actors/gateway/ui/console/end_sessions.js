// Ends many sessions, once somebody has seen which.

import { ask } from "./account.js";
import { confirm } from "./confirm.js";
import { notice } from "./notice.js";
import { say } from "./texts.js";

/** As many as the gateway takes in one request. */
const AT_ONCE = 1_000;

const NAMED = 6;

/**
 * Asks whether to end the sessions `ids`, which `find` finds, and has them end. Returns what is told
 * of those that do not, or nothing when it was not to be done.
 */
export async function endSessions(ids, find) {
  const count = ids.length;
  const names = ids.slice(0, NAMED).map((id) => `${find(id)?.app ?? ""} (${id})`).join(", ");
  const more = count > NAMED ? ` ${say("and_more", { count: count - NAMED })}` : "";
  const yes = await confirm({
    question: say("end_sessions_question", { count }),
    lines: [names + more, say("end_is_final")],
    verb: say("end_sessions", { count }),
  });
  if (!yes) return undefined;
  const left = [];
  for (let from = 0; from < count; from += AT_ONCE) {
    const { metadata } = await ask("DELETE", "sessions", { ids: ids.slice(from, from + AT_ONCE) });
    left.push(...(metadata?.errors ?? []));
  }
  if (left.length < count) notice(say("sessions_end", { count: count - left.length }));
  return left;
}
