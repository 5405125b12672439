// Watches one session of the page in Firefox: what it decodes and by which way that comes, what is
// typed, the statistics, and a camera that the browser refuses.
//
//   node firefox.mjs <page address with fragment> [--relay]
//
// Prints one JSON object; when a step fails, or the page complains, says so on stderr and exits with 1.

import process from "node:process";

import { FirefoxVisitor, launch, openPage } from "./firefox_visitor.mjs";
import { changes, reach, redact } from "./page.mjs";
import { end } from "./player_ends.mjs";
import { equal, has, saidBy } from "./player_page.mjs";

const PATIENCE_MS = 80_000;
const FRAMES = 60;

const [address, option] = process.argv.slice(2);
const complaints = [];
let browser;

try {
  browser = await launch(PATIENCE_MS);
  const seen = await watch(new FirefoxVisitor(await openPage(browser, PATIENCE_MS, complaints)));
  equal(complaints, []);
  console.log(JSON.stringify(seen));
} catch (error) {
  console.error(redact([error.message.split("\n")[0], ...complaints].join(" | ")));
  process.exitCode = 1;
} finally {
  await browser?.close();
}
process.exit();

async function watch(by) {
  const { page } = by;
  await page.goto(address, { waitUntil: "domcontentloaded" });
  await reach(page, "asking");
  await by.click("Sign in and go on");
  await reach(page, "streaming");
  await page.waitForFunction(changes);
  let seen;
  do seen = await page.evaluate(report);
  while (seen.frames < FRAMES);
  if (option === "--relay" && seen.candidate !== "relay") throw new Error(`not relayed: ${seen.candidate}`);
  await types(by);
  await isRefused(by);
  seen.statistics = await statistics(by);
  await end(by);
  return seen;
}

/** A click on the picture gives the application the keyboard, and Escape twice takes it back. */
async function types({ page }) {
  const { left, top, height } = await page.evaluate(() =>
    document.querySelector(".surface").getBoundingClientRect().toJSON());
  await page.mouse.click(left + 20, top + height / 2);
  await has(page, "stream-player.captured");
  const said = await saidBy(page, async () => {
    await page.keyboard.press("KeyH");
    await page.keyboard.type("é");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
  });
  await has(page, "stream-player:not(.captured)");
  equal(said.map(({ data }) => data.data?.text ?? (data.pressed ? data.code : -data.code)),
    [11, -11, "é", 41, -41]);
}

/** A browser that lets no page use the camera says so, and the stream goes on. */
async function isRefused(by) {
  for (const [name, words] of [["Camera", "use the camera"], ["Microphone", "use the microphone"]]) {
    await by.press(name);
    await by.sees(`did not let this page ${words}`);
  }
  await has(by.page, 'stream-player[data-state="playing"]');
}

/** Returns the figures that the panel shows once it has all that Firefox counts. */
async function statistics(by) {
  await by.press("Statistics");
  await by.page.waitForFunction(() => {
    const values = [...document.querySelectorAll("stream-statistics .value")];
    const [bitrate, frames] = values.map(({ textContent }) => Number.parseFloat(textContent));
    return bitrate > 0 && frames > 5;
  });
  return by.page.evaluate(() => document.querySelector("stream-statistics .about").textContent);
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
