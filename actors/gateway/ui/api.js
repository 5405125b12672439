// The REST interface of the gateway this page came from.

import { say } from "./player/texts.js";

const DEADLINE_MS = 30_000;
const ATTEMPTS = 4;
const LONGEST_PAUSE_S = 5;
const BUSY = [429, 503];

// Says that this page takes the fresh ICE servers that come over its socket.
const RENEW = "renew=true";

// The folder of this file, which a proxy may serve below a path of its own.
const BASE = new URL("./", import.meta.url);

/**
 * A refusal, in words for people; `status` is the HTTP code, 0 when no answer came, and
 * `retryAfter` the seconds after which the same may be granted, if the gateway says so. What it says
 * besides is `metadata`.
 */
export class ApiError extends Error {
  constructor(message, status, { retryAfter, metadata } = {}) {
    super(message);
    this.name = "ApiError";
    Object.assign(this, { status, retryAfter, metadata });
  }
}

/** Speaks for the holder of one token, which never leaves this object but in a header. */
export class Api {
  #authorization;

  constructor(token) {
    this.#authorization = `Macaroon root=${token}`;
  }

  /** Returns the names of the applications that can be started. */
  async applications() {
    const list = await this.#ask("GET", "applications");
    return list.map((application) => application.name);
  }

  /**
   * Creates a session, which the page may leave and join again for as long as the gateway lets it
   * wait; its key makes the retries of a lost answer find it instead of a second.
   */
  create(app, screen) {
    const key = { "Idempotency-Key": crypto.randomUUID() };
    const session = { app, screen, joinable: true, extra_data: null };
    return this.#ask("POST", `sessions?${RENEW}`, session, key);
  }

  /** Returns the state of a session. */
  session(id) {
    return this.#ask("GET", `sessions/${encodeURIComponent(id)}`);
  }

  /** Takes a running session over from whoever watched it so far, with a `screen` of its own. */
  join(id, screen) {
    const path = `sessions/${encodeURIComponent(id)}/join?${RENEW}`;
    return this.#ask("POST", path, screen ? { screen } : {});
  }

  /** Ends a session; one that is already gone counts as ended. */
  async remove(id) {
    try {
      await this.#ask("DELETE", `sessions/${encodeURIComponent(id)}`);
    } catch (error) {
      if (error.status !== 404) throw error;
    }
  }

  // Every request here may be repeated, so a gateway that is restarting goes unnoticed.
  async #ask(method, path, body, extraHeaders) {
    const headers = { Authorization: this.#authorization, ...extraHeaders };
    if (body) headers["Content-Type"] = "application/json";
    const request = { method, headers, body: body && JSON.stringify(body), cache: "no-store" };

    for (let attempt = 1; ; attempt += 1) {
      const last = attempt === ATTEMPTS;
      const response = await send(new URL(`1.0/${path}`, BASE), request).catch((error) => {
        if (last || error.name === "TimeoutError") throw unreachable(error);
      });
      if (response && (last || !BUSY.includes(response.status))) return read(response);
      await pause(response?.headers.get("Retry-After"));
    }
  }
}

function send(url, request) {
  return fetch(url, { ...request, signal: AbortSignal.timeout(DEADLINE_MS) });
}

function unreachable(error) {
  const late = error.name === "TimeoutError";
  return new ApiError(say(late ? "gateway_late" : "gateway_away"), 0);
}

async function read(response) {
  const { ok, status, headers } = response;
  if (status === 401) throw new ApiError(say("token_refused"), status);
  // What is no JSON did not come from the gateway, but from something in front of it.
  const envelope = await response.json().catch(() => undefined);
  if (!envelope) throw new ApiError(say("gateway_odd", { status: String(status) }), status);
  if (ok && envelope.type !== "error") return envelope.metadata;
  const reason = envelope.error || say("no_reason");
  const retryAfter = Number(headers.get("Retry-After")) || undefined;
  const { metadata } = envelope;
  throw new ApiError(say("gateway_refused", { reason, status: String(status) }), status,
    { retryAfter, metadata });
}

function pause(retryAfter) {
  const seconds = Math.min(Number(retryAfter) || 1, LONGEST_PAUSE_S);
  return new Promise((resume) => setTimeout(resume, seconds * 1000));
}
