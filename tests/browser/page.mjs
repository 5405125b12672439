// What all scripts do with the page: open it, and wait for a state of it. A script fails when a page
// of its complains, whatever else it finds: see `listen`.
//
// CHROMIUM names another browser than /usr/bin/chromium.

import process from "node:process";

import { chromium } from "playwright-core";

const FLAGS = [
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-gpu",
  "--disable-quic",
  "--disable-sync",
  "--no-first-run",
  "--no-sandbox",
];

const PATIENCE_MS = 60_000;

const complaints = [];
const allowances = [];

process.on("exit", () => {
  if (!complaints.length || process.exitCode) return;
  console.error(`the page complains: ${complaints.join("; ")}`);
  process.exitCode = 1;
});

/**
 * Does `work` with a page of its own, prints what it returns as JSON and ends the script: with 1 when
 * it fails, and with its reason on stderr.
 */
export async function withPage(work) {
  let page;
  try {
    page = await openPage(PATIENCE_MS);
    const found = await work(page);
    judge();
    console.log(JSON.stringify(found));
  } catch (error) {
    console.error(redact(error.message.split("\n")[0]));
    process.exitCode = 1;
  } finally {
    await page?.context().browser().close();
  }
  process.exit();
}

/**
 * Opens a page in a browser of its own, which is started with `flags` besides the usual ones; what
 * is asked of it may take `deadline` milliseconds.
 */
export async function openPage(deadline, flags = []) {
  const executablePath = process.env.CHROMIUM || "/usr/bin/chromium";
  const browser = await chromium.launch({ executablePath, args: [...FLAGS, ...flags] });
  // Taller than the picture is: bars above and below must not shift a tap.
  const viewport = { width: 900, height: 1000 };
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport });
  listen(context);
  await context.addInitScript(keepPeers);
  const page = await context.newPage();
  page.setDefaultTimeout(deadline);
  return page;
}

/**
 * Notes what the pages of `context` complain of: exceptions, and all errors and warnings on their
 * consoles, where the browser itself tells of answers that are no success and of what the policy for
 * content forbids.
 */
export function listen(context) {
  context.on("weberror", (error) => note(error.error().message));
  context.on("console", (message) => {
    if (!["error", "warning"].includes(message.type())) return;
    const { url } = message.location();
    note(`${message.text()} (${URL.canParse(url) ? new URL(url).pathname : url})`);
  });
}

/** Lets up to `times` complaints pass that `pattern` matches: they are brought about on purpose. */
export function allow(pattern, times = Infinity) {
  allowances.push({ pattern, times });
}

/** Returns what pages have complained of so far that is not allowed. */
export function complained() {
  return [...complaints];
}

/** Throws when a page has complained of something that is not allowed. */
export function judge() {
  if (complaints.length) throw new Error(`the page complains: ${complaints.splice(0).join("; ")}`);
}

function note(text) {
  const allowance = allowances.find(({ pattern, times }) => times > 0 && pattern.test(text));
  if (allowance) allowance.times -= 1;
  else complaints.push(redact(text));
}

/** In the page: whether the picture is there, and another one than at the first call. */
export function changes() {
  const video = document.querySelector("video");
  const { videoWidth: width, videoHeight: height } = video;
  if (!width) return false;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(video, 0, 0);
  const picture = context.getImageData(0, 0, width, height).data;
  const digest = picture.reduce((hash, byte) => (Math.imul(hash, 31) + byte) | 0, 7);
  window.firstDigest ??= digest;
  return digest !== window.firstDigest;
}

/** In the page, before its scripts: keeps the connections within reach of `getStats`. */
export function keepPeers() {
  window.peers = [];
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...parameters) {
      super(...parameters);
      window.peers.push(this);
    }
  };
}

/** In the page, before its scripts: keeps its sockets within reach. */
export function keepSockets() {
  window.sockets = [];
  window.WebSocket = class extends WebSocket {
    constructor(...parameters) {
      super(...parameters);
      window.sockets.push(this);
    }
  };
}

/** Opens `address`; where it brings a token along the page asks first, and is told to go on. */
export async function visit(page, address) {
  await page.goto(address, { waitUntil: "domcontentloaded" });
  if (!/[#&]token=/.test(address)) return;
  await reach(page, "asking");
  await page.getByRole("button", { name: "Sign in and go on" }).click();
}

/** Waits until the page is in `state`; throws its own words when it fails instead. */
export async function reach(page, state) {
  const settled = await page.waitForFunction((wanted) => {
    const { state } = document.documentElement.dataset;
    return [wanted, "failed"].includes(state) && state;
  }, state);
  if ((await settled.jsonValue()) === state) return;
  const said = await page.evaluate(() => document.querySelector("[role=alert]").textContent);
  throw new Error(`the page says: ${said}`);
}

/** Playwright quotes addresses in its messages; the fragment of ours holds a token. */
export function redact(text) {
  return text.replace(/#[^\s"']*/g, "#[redacted]").replace(/token=[^&\s]*/g, "token=[redacted]");
}
