// Who is signed in. The token is held in memory, and on request in the tab's own storage; it leaves
// this module in a header only, and in what the player's modules are handed.

import { say } from "./texts.js";
import { read } from "./token.js";

const DEADLINE_MS = 30_000;
const KEPT = "stream.token";

/** The folder above this file's, which a proxy may serve below a path of its own. */
export const BASE = new URL("../", import.meta.url);

let token;
let holder = read("");
let refusedOperations = new Set();

/** Tells `change` when somebody signs in or out, or may do less than was thought. */
export const account = new EventTarget();

/** A refusal: a sentence for people, the HTTP code (0 without an answer) and what came with it. */
export class Refusal extends Error {
  constructor(message, status, retryAfter) {
    super(message);
    this.name = "Refusal";
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export function isSignedIn() {
  return Boolean(token);
}

/** The name of the account, if the token says it. */
export function name() {
  return holder.name;
}

/** Whether the token allows `operation`, as far as is known. */
export function may(operation) {
  if (refusedOperations.has(operation)) return false;
  return holder.operations?.has(operation) ?? true;
}

/** Notes that the gateway refuses `operation`, whatever the token says. */
export function forbid(operation) {
  if (refusedOperations.has(operation)) return;
  refusedOperations.add(operation);
  tellChange();
}

/** Returns the token, for what opens a session by itself. */
export function tokenForPlayer() {
  return token;
}

/**
 * Signs in, and if `keep` says so also after the tab was loaded again.
 *
 * Throws a refusal when the gateway does not take the token.
 */
export async function signIn(entered, keep) {
  const candidate = entered.trim();
  await request(candidate, "GET", "sessions?limit=1");
  token = candidate;
  holder = read(candidate);
  refusedOperations = new Set();
  if (keep) store(candidate);
  tellChange();
}

/** Signs in with the token that the tab has kept, if there is one; returns whether it did. */
export function signInAgain() {
  try {
    token = sessionStorage.getItem(KEPT) ?? undefined;
  } catch {}
  holder = read(token ?? "");
  return isSignedIn();
}

/** Forgets the token; `reason` is told to whoever is asked for another one. */
export function signOut(reason) {
  if (!token) return;
  token = undefined;
  store(undefined);
  tellChange(reason);
}

/**
 * Asks the gateway, and returns `{status, metadata, total}`.
 *
 * Throws a refusal; one of the token itself signs out.
 */
export async function ask(method, path, body, headers) {
  const asking = token;
  return orSignOut(() => request(asking, method, path, body, headers), asking);
}

/** Returns the link of a share as a QR code, for the address of a picture. */
export async function drawShare(id) {
  const asking = token;
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const path = `shares/${encodeURIComponent(id)}/qr`;
  const response = await send(asking, path, { method: "POST", signal });
  if (!response.ok) return orSignOut(() => answer(response), asking);
  return `data:image/svg+xml;base64,${btoa(await response.text())}`;
}

/** Asks for a text at the gateway; `path` is that of the address, and a refusal as of `ask`. */
export async function askText(path) {
  const asking = token;
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const response = await send(asking, `../${path}`, { signal });
  if (response.ok) return response.text();
  return orSignOut(() => answer(response), asking);
}

/**
 * Opens the stream of events behind the one called `last`, and returns its body; `signal` ends it.
 *
 * Throws a refusal; one of the token itself signs out.
 */
export async function openEvents(last, signal) {
  const asking = token;
  const headers = last ? { "Last-Event-ID": last } : {};
  const response = await send(asking, "events", { headers, signal });
  if (response.ok) return response.body;
  return orSignOut(() => answer(response), asking);
}

/** Does what `attempt` says; a refusal of the token `asking` itself signs out. */
async function orSignOut(attempt, asking) {
  try {
    return await attempt();
  } catch (error) {
    if (error.status === 401 && asking === token) signOut(say("token_refused"));
    throw error;
  }
}

function tellChange(reason) {
  account.dispatchEvent(new CustomEvent("change", { detail: { reason } }));
}

// A browser that refuses its storage has the token forgotten with the page.
function store(kept) {
  try {
    if (kept) sessionStorage.setItem(KEPT, kept);
    else sessionStorage.removeItem(KEPT);
  } catch {}
}

async function request(bearer, method, path, body, extraHeaders) {
  const headers = { ...extraHeaders };
  if (body) headers["Content-Type"] = "application/json";
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const text = body && JSON.stringify(body);
  return answer(await send(bearer, path, { method, headers, body: text, signal }));
}

async function send(bearer, path, options) {
  const headers = { Authorization: `Macaroon root=${bearer}`, ...options.headers };
  try {
    return await fetch(new URL(`1.0/${path}`, BASE), { ...options, headers, cache: "no-store" });
  } catch (error) {
    throw new Refusal(say(error.name === "TimeoutError" ? "gateway_late" : "gateway_away"), 0);
  }
}

async function answer(response) {
  const { ok, status } = response;
  if (status === 401) throw new Refusal(say("token_refused"), status);
  // What is no JSON did not come from the gateway, but from something in front of it.
  const envelope = await response.json().catch(() => undefined);
  if (!envelope) throw new Refusal(say("gateway_odd", { status }), status >= 500 ? 0 : status);
  if (ok) return { status, metadata: envelope.metadata, total: envelope.total_size };
  const retryAfter = Number(response.headers.get("Retry-After")) || undefined;
  const reason = envelope.error || say("no_reason");
  throw new Refusal(say("gateway_refused", { reason, status: String(status) }), status, retryAfter);
}
