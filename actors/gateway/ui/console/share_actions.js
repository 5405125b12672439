// What can be done to a share, wherever it is shown.

import { ask } from "./account.js";
import { confirm } from "./confirm.js";
import { notice } from "./notice.js";
import { say } from "./texts.js";

export const HOUR_S = 3_600;
/** How long a share lasts, and by how much it is prolonged. */
export const USUAL_H = 12;
const LONGEST_S = 30 * 24 * HOUR_S;

/** Has a share last longer, as far as it may. Throws a refusal. */
export async function prolong({ id, created_at: created, expiry_at: expiry }) {
  const until = Math.min(expiry + USUAL_H * HOUR_S, created + LONGEST_S);
  await ask("PATCH", `shares/${encodeURIComponent(id)}`, { expiry_at: until });
  notice(say("share_prolonged"));
}

/** Ends a share, if whoever is asked says so; returns whether it has ended. Throws a refusal. */
export async function end({ id, type, description }) {
  const yes = await confirm({
    question: say("end_share_question"),
    lines: [[say(`role_${type}`), description].filter(Boolean).join(" · "), say("end_share_hit")],
    verb: say("end_share"),
  });
  if (!yes) return false;
  await ask("DELETE", `shares/${encodeURIComponent(id)}`);
  notice(say("share_ended"));
  return true;
}
