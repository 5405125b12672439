// Watches one session in a real browser, the way a person would: opens the page, waits for a
// moving picture, taps on it, sees the tap in the picture, ends the session.
//
//   node session.mjs <page address with fragment> [--relay]
//
// Prints one JSON object; when a step fails it also says which on stderr and exits with 1.
// CHROMIUM names another browser than /usr/bin/chromium.

import process from "node:process";

import { changes, judge, openPage, reach, redact, visit } from "./page.mjs";

const DEADLINE_MS = 60_000;
const FRAMES = 60;

// Away from every axis of symmetry, so that a flipped or stretched mapping shows.
const TAP = { x: 0.3, y: 0.65 };

const { address, relay } = readArguments(process.argv.slice(2));
let current = "start the browser";
const durations = {};
let browser;

try {
  const found = await Promise.race([watch(), deadline()]);
  print({ ok: true, ...found, durations_ms: durations });
} catch (error) {
  const reason = redact(error.message.split("\n")[0]);
  print({ ok: false, step: current, error: reason, durations_ms: durations });
  console.error(`could not ${current}: ${reason}`);
  process.exitCode = 1;
} finally {
  await browser?.close();
}
process.exit();

async function watch() {
  const page = await step("start the browser", () => openPage(DEADLINE_MS));
  browser = page.context().browser();
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  await step("open the page", () => page.goto(address, { waitUntil: "domcontentloaded" }));
  await step("be asked first", () => reach(page, "asking"));
  await step("have nothing done", () => decline(page, asked));
  await step("follow the link", () => visit(page, address));
  await step("connect to the stream", () => reach(page, "streaming"));
  const frames = await step(`decode ${FRAMES} frames`, () => decoded(page, FRAMES));
  await step("see the picture change", () => page.waitForFunction(changes));
  const tap = await step("see the tap in the picture", () => tapped(page));
  const candidate = await step("read the selected candidate pair", () => selected(page));
  if (relay) await step("stream through the relay", () => equal("candidate", candidate, "relay"));
  await step("keep the token out of sight", () => hidden(page));
  const session = await page.evaluate(() => document.documentElement.dataset.session);
  await step("end the session", () => end(page));
  await step("find no error on the page", judge);
  return { session, frames, tap, candidate };
}

/** Declines what a link offers; until it is followed, the gateway is asked for nothing. */
async function decline(page, asked) {
  await page.getByRole("button", { name: "Do nothing" }).click();
  await reach(page, "idle");
  await hidden(page);
  const api = asked.filter((url) => url.includes("/1.0/"));
  await equal("requests", api.length, 0);
}

async function decoded(page, atLeast) {
  const frames = await page.waitForFunction((atLeast) => {
    const { totalVideoFrames } = document.querySelector("video").getVideoPlaybackQuality();
    return totalVideoFrames >= atLeast && totalVideoFrames;
  }, atLeast);
  return frames.jsonValue();
}

async function tapped(page) {
  const place = await page.evaluate((tap) => {
    const video = document.querySelector("video");
    const { left, top, width, height } = video.getBoundingClientRect();
    const picture = { width: video.videoWidth, height: video.videoHeight };
    const scale = Math.min(width / picture.width, height / picture.height);
    const pixel = { x: picture.width * tap.x, y: picture.height * tap.y };
    const x = left + width / 2 + (pixel.x - picture.width / 2) * scale;
    const y = top + height / 2 + (pixel.y - picture.height / 2) * scale;
    return { pixel, x, y };
  }, TAP);
  if (await page.evaluate(magenta, place.pixel)) throw new Error("a mark is there before the tap");
  await page.mouse.click(place.x, place.y);
  await page.waitForFunction(magenta, place.pixel);
  return place.pixel;
}

/** In the page: tells whether the shown picture is magenta at a pixel, give or take the codec. */
function magenta({ x, y }) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.drawImage(document.querySelector("video"), -Math.round(x), -Math.round(y));
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return red > 180 && green < 90 && blue > 180;
}

function selected(page) {
  return page.evaluate(async () => {
    const stats = await window.peers.at(-1).getStats();
    const transport = [...stats.values()].find(({ type }) => type === "transport");
    const pair = stats.get(transport.selectedCandidatePairId);
    return stats.get(pair.localCandidateId).candidateType;
  });
}

async function hidden(page) {
  const token = new URLSearchParams(new URL(address).hash.slice(1)).get("token");
  const left = await page.evaluate(() => ({
    hash: location.hash,
    rest: [location.href, ...Object.values(localStorage), ...Object.values(sessionStorage)],
  }));
  equal("fragment", left.hash, "");
  if (left.rest.some((text) => text.includes(token))) throw new Error("the page left it about");
}

async function end(page) {
  // The bar shows itself when the pointer moves.
  await page.mouse.move(200, 200);
  await page.mouse.move(220, 220);
  await page.getByRole("button", { name: "End session" }).click();
  await page.locator(".ask").getByRole("button", { name: "End session" }).click();
  await reach(page, "ended");
}

async function step(sentence, work) {
  current = sentence;
  const start = performance.now();
  const result = await work();
  durations[sentence] = Math.round(performance.now() - start);
  return result;
}

function deadline() {
  return new Promise((_, reject) => {
    const late = () => reject(new Error(`not done after ${DEADLINE_MS / 1000} s in all`));
    setTimeout(late, DEADLINE_MS).unref();
  });
}

function equal(what, found, wanted) {
  if (found !== wanted) throw new Error(`${what}: "${found}" instead of "${wanted}"`);
}

function readArguments(words) {
  const addresses = words.filter((word) => !word.startsWith("--"));
  const options = words.filter((word) => word.startsWith("--"));
  if (addresses.length !== 1 || options.some((option) => option !== "--relay")) {
    console.error("usage: node session.mjs <page address with fragment> [--relay]");
    process.exit(64);
  }
  return { address: addresses[0], relay: options.includes("--relay") };
}

function print(result) {
  console.log(JSON.stringify(result));
}
