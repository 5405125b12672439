// How a stream ended, and what one can do: words for each way.

import { say } from "./texts.js";

const REFUSED = { 401: "token", 403: "forbidden", 404: "session_over", 409: "occupied" };

/** What another try may get over. */
const AGAIN = new Set(["left", "replaced", "lost", "no_path", "socket", "no_start", "signaling",
  "refused", "occupied", "unreachable", "instance"]);

/**
 * Returns `{why, remedy, again}` of a cause that a link told; `session` is what the gateway says of
 * the session now, if it says something.
 */
export function ending(cause, detail, session) {
  if (cause === "join") return ofError(detail);
  if (session === null) return words("session_over");
  const { status, status_message: message } = session ?? {};
  if (status === "closed") return words("closed");
  if (status === "error") return words("instance", message);
  if (status === "terminated" || status === "terminating") return words("session_over");
  if (cause === "left" && status === "active") return words("replaced");
  return words(cause, detail);
}

function ofError(error) {
  const name = REFUSED[error.status];
  if (name) return words(name, error.message);
  if (!error.status) return words("unreachable", error.message);
  return words("refused", error.message);
}

function words(cause, detail) {
  const reason = detail || say("no_reason");
  return { cause, why: say(`over_${cause}`, { reason }), remedy: say(`remedy_${cause}`),
    again: AGAIN.has(cause) };
}
