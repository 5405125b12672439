// What the steps of the console's test stand on: the page, how it is looked at, and what the gateway
// is said to answer.

import path from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";

import { addEvents, holdEvents } from "../events.mjs";
import { allow, keepPeers, listen, openPage } from "../page.mjs";
import { Looks, SIZES, equal, keepSaid, serveFrom } from "../player_page.mjs";

const DEADLINE_MS = 30_000;
const MOST_WEIGHT = 60 * 1024;

export const [gateway, app] = process.argv.slice(2);
export const { STREAM_TOKEN, STREAM_OPERATOR_TOKEN, STREAM_UI, STREAM_ONLY, STREAM_GATEWAY_SOCKET } =
  process.env;
/** Where the sources of the page are. */
export const ui = STREAM_UI ?? new URL("../../../actors/gateway/ui", import.meta.url).pathname;
export const looks = new Looks(process.env.STREAM_PICTURES);
export const figures = { views: 0 };
/** What the gateway is said to answer instead of what it does, by the part of the address. */
export const instead = new Map();
/** The page that the steps are done in. */
export let page;

export { SIZES, equal };

/** Opens the page, in a browser of its own. */
export async function openConsole() {
  // A page that does not come from the gateway's address may not open a socket there otherwise.
  const own = STREAM_UI ? ["--disable-features=LocalNetworkAccessChecks"] : [];
  page = await openPage(DEADLINE_MS, ["--lang=en-US", ...own]);
  await prepare(page);
}

/** Does `work` in another page, which shares nothing with the first, in a context with `options`. */
export async function elsewhere(options, work) {
  const before = page;
  const context = await page.context().browser()
    .newContext({ ignoreHTTPSErrors: true, locale: "en-US", ...options });
  try {
    listen(context);
    page = await context.newPage();
    page.setDefaultTimeout(DEADLINE_MS);
    await page.addInitScript(keepPeers);
    await prepare(page);
    await work();
  } finally {
    await context.close();
    page = before;
  }
}

async function prepare(page) {
  await page.addInitScript(keepSaid);
  await page.addInitScript(keepShifts);
  await page.context().route("**/*", serveFrom(STREAM_UI));
  await page.context().route("**/*", (route) => {
    const url = new URL(route.request().url());
    const [, reply] = [...instead].find(([part]) => url.pathname.includes(part)) ?? [];
    return reply ? reply(route, url) : route.fallback();
  });
  await holdEvents(page);
}

/** In the page, before its scripts: keeps what moves by itself (Layout Instability API). */
function keepShifts() {
  window.shifts = [];
  const note = (list) => window.shifts.push(...list.getEntries());
  new PerformanceObserver(note).observe({ type: "layout-shift", buffered: true });
}

export function role(kind, name) {
  return page.getByRole(kind, { name, exact: true });
}

/** Waits until the page shows `text`. */
export async function sees(text) {
  await page.getByText(text).first().waitFor();
}

export function rows() {
  return page.locator("console-sessions tbody tr[data-id]");
}

export async function go(hash) {
  await page.evaluate((hash) => (location.hash = hash), hash);
}

/**
 * Looks at the view as it is now, in both schemes and sizes, with the element `at` at its top where
 * one is named.
 */
export async function look(name, { sizes, at } = {}) {
  const before = at && (() => page.locator(at).evaluate((element) => element.scrollIntoView()));
  await looks.at(page, name, { ...(sizes && { sizes }), ...(before && { before }) });
  figures.views += 1;
}

/** Enters a token where the console asks for one. */
export async function enter(token, keep) {
  await page.getByLabel("Access token of an account").fill(token);
  if (keep) await page.getByLabel("Keep it in this tab until it is closed").check();
  await role("button", "Sign in").click();
}

/** Opens the console, and weighs what that loads. */
export async function visit() {
  const loaded = new Map();
  const plain = [];
  const note = async (response) => {
    const { pathname } = new URL(response.url());
    if (!response.ok() || pathname.startsWith("/1.0/")) return;
    loaded.set(pathname, await response.body());
    if (!STREAM_UI && response.headers()["content-encoding"] !== "gzip") plain.push(pathname);
  };
  page.on("response", note);
  // With a slash behind it, it is the same place.
  await page.goto(`${gateway}/console${STREAM_UI ? "" : "/"}`, { waitUntil: "networkidle" });
  page.off("response", note);
  equal(plain, []);
  equal(new URL(page.url()).pathname, "/console");
  figures.loaded_ms = await page.evaluate(() =>
    Math.round(performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd));
  const sizes = [...loaded.values()].map((body) => gzipSync(body).length);
  figures.files = sizes.length;
  figures.gzip_bytes = sizes.reduce((sum, size) => sum + size, 0);
  if (figures.gzip_bytes > MOST_WEIGHT) throw new Error(`it weighs ${figures.gzip_bytes} bytes`);
}

/** The browser notes up to `times` answers of `status` to requests that `path` matches. */
export function expectAnswers(status, path, times) {
  allow(new RegExp(`status of ${status} .*\\(.*${path}`), times);
}

/** Returns what the gateway answers with `metadata`. */
export function answered(metadata, more) {
  return { json: { type: "sync", status: "success", status_code: 200, metadata, ...more } };
}

/** Returns so many sessions as the gateway lists them, the nth as `shape(n)` says. */
export function madeUp(count, shape = () => ({})) {
  const states = ["active", "active", "active", "active", "active", "active", "created", "error"];
  const words = { active: "the instance is running", created: "launched, boots",
    error: "image jammy:android15 is missing at AMS" };
  const now = Math.floor(Date.now() / 1000);
  return Array.from({ length: count }, (_, n) => {
    const status = states[(n * 7 + Math.floor(n / 50)) % states.length];
    return { id: `s${String(n).padStart(19, "0")}`, app: ["clock", "maps", "game"][n % 3],
      region: ["eu-1", "us-2"][n % 2], status, status_message: words[status], joinable: true,
      container_id: "", cluster_id: "c1", created_at: now - (count - n) * 37, ...shape(n) };
  });
}

/** Has the list of sessions be what `list` returns, from now on. */
export async function sessionsAre(list) {
  instead.set("/1.0/sessions", (route, url) => {
    if (route.request().method() !== "GET" || url.pathname !== "/1.0/sessions") return route.fallback();
    const all = list();
    const offset = Number(url.searchParams.get("offset"));
    const page = all.slice(offset, offset + Number(url.searchParams.get("limit")));
    return route.fulfill(answered(page, { total_size: all.length }));
  });
  await anew();
}

/** Has the page list everything anew: what the gateway is said to answer is another thing now. */
async function anew() {
  await addEvents(page, [["reset", {}]]);
}

/** Has the gateway answer itself again. */
export async function truth() {
  instead.clear();
  await anew();
}

/** Returns the token that `caveats` narrow. */
export async function narrowed(token, caveats) {
  const { attenuate } = await import(path.join(ui, "attenuate.js"));
  return attenuate(token, caveats);
}
