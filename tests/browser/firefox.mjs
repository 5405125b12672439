// Watches one session of the page in Firefox, over WebDriver BiDi, which is built in: the picture, what
// is typed, and the statistics.
//
//   node firefox.mjs <page address with fragment> [--relay]
//
// Prints one JSON object; when a step fails it says so on stderr and exits with 1. FIREFOX names
// another browser than /usr/bin/firefox-esr.

import process from "node:process";

import puppeteer from "puppeteer-core";

import { changes, keepPeers, redact } from "./page.mjs";
import { keepSaid } from "./player_page.mjs";

const PATIENCE_MS = 80_000;
const FRAMES = 60;

const [address, option] = process.argv.slice(2);
let browser;

try {
  browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: process.env.FIREFOX || "/usr/bin/firefox-esr",
    headless: true,
    acceptInsecureCerts: true,
    protocolTimeout: PATIENCE_MS,
    extraPrefsFirefox: {
      "media.peerconnection.ice.loopback": true,
      "media.peerconnection.ice.obfuscate_host_addresses": false,
      "media.autoplay.default": 0,
      // Its H.264 is fetched from elsewhere: here it has VP8.
      "media.gmp-manager.updateEnabled": false,
      "network.captive-portal-service.enabled": false,
    },
  });
  console.log(JSON.stringify(await watch()));
} catch (error) {
  console.error(redact(error.message.split("\n")[0]));
  process.exitCode = 1;
} finally {
  await browser?.close();
}
process.exit();

async function watch() {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  await page.evaluateOnNewDocument(keepPeers);
  await page.evaluateOnNewDocument(keepSaid);
  await page.goto(address, { waitUntil: "domcontentloaded" });
  await reach(page, "asking");
  await page.evaluate(() => {
    const go = [...document.querySelectorAll("button")]
      .find(({ textContent }) => textContent.trim() === "Sign in and go on");
    go.click();
  });
  await reach(page, "streaming");
  await page.waitForFunction(changes);
  let seen;
  do seen = await page.evaluate(report);
  while (seen.frames < FRAMES);
  if (option === "--relay" && seen.candidate !== "relay") throw new Error(`not relayed: ${seen.candidate}`);
  await types(page);
  seen.statistics = await statistics(page);
  await page.evaluate(() => document.querySelector('[data-name="end"]').click());
  await page.evaluate(() => document.querySelector(".ask button").click());
  await reach(page, "ended");
  return seen;
}

/** A click on the picture gives the application the keyboard, and Escape twice takes it back. */
async function types(page) {
  const { x, y, height } = await (await page.$(".surface")).boundingBox();
  await page.mouse.click(x + 20, y + height / 2);
  await page.waitForSelector("stream-player.captured");
  await page.evaluate(() => (window.said.length = 0));
  await page.keyboard.press("KeyH");
  await page.keyboard.type("é");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  await page.waitForSelector("stream-player:not(.captured)");
  const said = await page.evaluate(() => window.said.filter(({ type }) => !type.includes("mouse"))
    .map(({ data }) => data.data?.text ?? (data.pressed ? data.code : -data.code)));
  const wanted = [11, -11, "é", 41, -41];
  if (JSON.stringify(said) !== JSON.stringify(wanted)) throw new Error(`it said ${JSON.stringify(said)}`);
}

/** Returns the figures that the panel shows once it has all that Firefox counts. */
async function statistics(page) {
  await page.evaluate(() => document.querySelector('[data-name="statistics"]').click());
  await page.waitForFunction(() => {
    const values = [...document.querySelectorAll("stream-statistics .value")];
    const [bitrate, frames] = values.map(({ textContent }) => Number.parseFloat(textContent));
    return bitrate > 0 && frames > 5;
  });
  return page.evaluate(() => document.querySelector("stream-statistics .about").textContent);
}

async function reach(page, wanted) {
  await page.waitForFunction((wanted) => {
    const { state } = document.documentElement.dataset;
    return [wanted, "failed"].includes(state);
  }, {}, wanted);
  const [state, said] = await page.evaluate(() => [
    document.documentElement.dataset.state, document.querySelector("[role=alert]")?.textContent,
  ]);
  if (state !== wanted) throw new Error(`the page says: ${said}`);
}

/** In the page: what it gets, and by which way. */
async function report() {
  const stats = [...(await window.peers.at(-1).getStats()).values()];
  const find = (type, wanted) => stats.find((entry) => entry.type === type && wanted(entry));
  const pair = find("candidate-pair", ({ selected }) => selected);
  const local = find("local-candidate", ({ id }) => id === pair?.localCandidateId);
  const video = find("inbound-rtp", ({ kind }) => kind === "video");
  return {
    codec: find("codec", ({ id }) => id === video?.codecId)?.mimeType,
    candidate: local?.candidateType,
    // It counts no frames of streams at the element.
    frames: video?.framesDecoded ?? 0,
  };
}
