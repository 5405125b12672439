// Watches one session of the page in Firefox, over WebDriver BiDi, which is built in.
//
//   node firefox.mjs <page address with fragment> [--relay]
//
// Prints one JSON object; when a step fails it says so on stderr and exits with 1. FIREFOX names
// another browser than /usr/bin/firefox-esr.

import process from "node:process";

import puppeteer from "puppeteer-core";

import { changes, keepPeers, redact } from "./page.mjs";

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
  await page.evaluate(() => {
    const end = [...document.querySelectorAll("button")]
      .find(({ textContent }) => textContent.trim() === "End session");
    end.click();
  });
  await reach(page, "ended");
  return seen;
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
