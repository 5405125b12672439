// One session: its picture, its time line, its shares.

import jsQR from "jsqr";

import { changes } from "../page.mjs";
import { copies } from "./clipboard.mjs";
import { SIZES, answered, equal, expectAnswers, instead, look, page, role, sees } from "./page.mjs";

export async function open() {
  await page.locator("tr[data-id]:not(.gone) a").first().click();
  await sees("Taking control replaces whoever is connected.");
  await look("session");
  await role("button", "Take control").click();
  await sees("You control the session.");
  await page.waitForFunction(changes);
  await look("session-plays");
  // It is as high as what it shows, and goes on in another language.
  const [box, video] = await page.locator(".stage video").evaluate((video) =>
    [video.clientWidth / video.clientHeight, video.videoWidth / video.videoHeight]);
  if (Math.abs(box - video) > 0.02) throw new Error(`${video} in a box of ${box}`);
  await page.evaluate(() => (window.video = document.querySelector("video")));
  await page.getByLabel("Language").selectOption("de");
  await sees("Sitzung beenden");
  await role("heading", "Freigaben").waitFor();
  const called = () => page.locator("stream-player .bar > *").evaluateAll((parts) =>
    parts.map((part) => part.textContent || part.ariaLabel).join(" "));
  const german = await called();
  for (const word of ["Zurück", "Tastatur", "Lautstärke", "Ton an"]) equal(german.includes(word), true);
  await page.getByLabel("Sprache").selectOption("en");
  const english = await called();
  for (const word of ["Back", "Keyboard", "Loudness", "Sound on"]) equal(english.includes(word), true);
  await page.evaluate(() => delete window.firstDigest);
  await page.waitForFunction(changes);
  equal(await page.evaluate(() => window.video === document.querySelector(".stage.plays stream-player video")), true);
  // Too narrow for a line of buttons.
  await page.locator("stream-player").hover();
  await role("button", "Show the buttons").click();
  await role("button", "Leave").click();
  await role("button", "Take control").waitFor();
  await wait();
  await watch();
  await page.getByText("Document", { exact: true }).click();
  await sees('"container_id"');
  await explain();
}

/** Waits for somebody who may come back, and takes control instead. */
async function wait() {
  expectAnswers(409, "/join");
  const metadata = { free_after_s: 27 };
  const refusal = { type: "error", error: "the controlling client has left", error_code: 409, metadata };
  const headers = { "Retry-After": "5" };
  instead.set("/join", (route) => route.fulfill({ status: 409, headers, json: refusal }));
  await role("button", "Watch only").click();
  await sees("has just left and may come back");
  await page.getByRole("timer").getByText(/^In 2\d s at the latest$/).waitFor();
  await look("session-waits");
  equal(await page.locator("stream-player .choices button").allTextContents(),
    ["Try now", "Take control", "Leave"]);
  // The answer to it leaves the focus where it is.
  const answer = page.waitForResponse(/\/join/, { timeout: 2_000 });
  await role("button", "Try now").press("Enter");
  await answer;
  await page.waitForTimeout(100);
  equal(await page.evaluate(() => document.activeElement.textContent), "Try now");
  await role("button", "Leave").click();
  await role("button", "Watch only").click();
  await role("button", "Try now").waitFor();
  instead.clear();
  await page.locator("stream-player .choices").getByText("Take control").click();
  await sees("You control the session.");
  await page.locator("stream-player").hover();
  await role("button", "Show the buttons").click();
  await role("button", "Leave").click();
  await role("button", "Take control").waitFor();
}

async function watch() {
  // It asks until the gateway knows that nobody controls it any more.
  expectAnswers(409, "/join");
  await role("button", "Watch only").click();
  await sees("You are watching; taps are not sent.");
  await page.getByText("You are watching", { exact: true }).waitFor();
  await page.evaluate(() => delete window.firstDigest);
  await page.waitForFunction(changes);
  await look("session-watched");
  await page.locator("stream-player").hover();
  await role("button", "Show the buttons").click();
  const typed = page.locator("stream-player").getByRole("button", { name: "Keyboard", exact: true });
  equal(await typed.count(), 0);
  await role("button", "Leave").click();
  await role("button", "Take control").waitFor();
}

/** Finds every hop of the session that was just played, and the one at which another failed. */
async function explain() {
  const hops = ["create", "place", "launch", "boot", "join", "socket", "offer", "answer", "client"];
  for (const hop of hops) {
    await page.locator("console-timeline .hop").getByText(hop, { exact: true }).first().waitFor();
  }
  equal(await page.locator("console-timeline .failed").count(), 0);
  await look("session-timeline", { at: "console-timeline" });
  const begun = Date.now() - 9_000;
  const told = (hop, after, text, more) => ({ hop, at_ms: begun + after, took_ms: null, text,
    unit: "agent-1", failed: false, count: 1, ...more });
  const entries = [
    told("create", 12, "account demo asks for maps", { took_ms: 12, unit: "gateway-1" }),
    told("place", 13, "agent agent-1 did not take the session: this agent is draining"),
    told("place", 14, "agent agent-2 has claimed the session: 62 places free", { took_ms: 1 }),
    told("ice", 15, "client 0 has TURN credentials"),
    told("launch", 224, "AMS has accepted instance cr3f8hsn", { took_ms: 210 }),
    told("ice", 230, "the instance has TURN credentials"),
    told("ice", 231, "fresh TURN credentials are there for client and instance"),
    told("refusal", 900, "account demo was turned away: session is created, not active", { count: 4 }),
    told("end", 6_130, "the instance ended with an error: image jammy:android15 is missing",
      { failed: true }),
  ];
  const { hop, at_ms, text } = entries.at(-1);
  const verdict = { fault: "image_missing", hop, at_ms, text, remedy: "give the image to AMS" };
  instead.set("/timeline", (route) => route.fulfill(answered({ entries, verdict })));
  await page.locator("console-timeline .failed").waitFor();
  await sees("To do: give the image to AMS");
  await sees("×4");
  await isReadable();
  await look("session-explained", { at: "console-timeline" });
  await calm(told);
  instead.clear();
}

/** Every bar is seen, no time is said twice in a row, and credentials are one row, which opens. */
async function isReadable() {
  const least = () => page.locator("console-timeline .axis i").evaluateAll((bars) =>
    Math.min(...bars.map((bar) => bar.getBoundingClientRect().width)));
  const narrowest = await least();
  if (!(narrowest >= 4)) throw new Error(`a bar is ${narrowest} px wide`);
  const times = await page.locator("console-timeline .hops > li > time").allTextContents();
  const said = times.filter(Boolean);
  equal(said.length, new Set(said).size);
  equal(await page.locator("console-timeline .hop").getByText("credentials", { exact: true }).count(), 1);
  await page.getByText("given 3 times").click();
  await sees("the instance has TURN credentials");
  await page.getByText("given 3 times").click();
  await page.setViewportSize(SIZES.phone);
  const { width } = await page.locator("console-timeline .hop").first().boundingBox();
  if (!(width >= 120)) throw new Error(`the hop has ${width} px`);
  await page.setViewportSize(SIZES.wide);
}

/** Who leaves is no fault: it is said, and not in the colour of one. */
async function calm(told) {
  const entries = [told("client", 5_000, "client 0 is connected"), told("client", 6_000, "client 0 has left")];
  const { hop, at_ms, text } = entries.at(-1);
  const verdict = { fault: "client_left", hop, at_ms, text, remedy: "nothing, if it meant to" };
  instead.set("/timeline", (route) => route.fulfill(answered({ entries, verdict })));
  await page.locator("console-timeline .fault.calm").getByText("client 0 has left").waitFor();
  const [calm, bad] = await page.locator(".fault").evaluate((fault) => {
    const edge = () => getComputedStyle(fault).borderInlineStartColor;
    const before = edge();
    fault.classList.remove("calm");
    return [before, edge()];
  });
  equal(calm === bad, false);
}

export async function share() {
  await page.getByLabel("may watch").check();
  await page.getByLabel("Lasts").selectOption({ label: "1 hour" });
  await page.getByLabel("Description").fill("for a colleague");
  let link;
  await copies(() => role("button", "Make and copy link").click(), (text) => (link = text));
  if (!/^https:.*#.*share=/.test(link)) throw new Error(`no link: ${link.slice(0, 30)}`);
  await sees("for a colleague");
  await look("session-shared");
  await copies(() => role("button", "Copy link").click(), (text) => equal(text, link));
  await role("button", "QR code").click();
  await page.getByAltText("QR code of the link").waitFor();
  equal(await readCode(), link);
  await look("session-code");
  await role("button", "QR code").click();
  await page.getByAltText("QR code of the link").waitFor({ state: "detached" });
  await role("button", "12 h longer").click();
  await sees("in 12 h");
  await role("button", "End share").click();
  await page.getByRole("dialog").getByRole("button", { name: "End share" }).click();
  await sees("The share has ended.");
}

/** Reads the QR code on the page as a phone would. */
async function readCode() {
  // A digit for each pixel: as numbers they are on their way for most of a minute.
  const { side, pixels } = await page.locator("img.qr-code").evaluate(async (image) => {
    await image.decode();
    const side = 4 * image.width;
    const context = new OffscreenCanvas(side, side).getContext("2d");
    context.drawImage(image, 0, 0, side, side);
    const { data } = context.getImageData(0, 0, side, side);
    let pixels = "";
    for (let n = 0; n < data.length; n += 4) pixels += data[n] > 127 ? "1" : "0";
    return { side, pixels };
  });
  const colours = Uint8ClampedArray.from({ length: 4 * side * side }, (_, n) => 255 * pixels[n >> 2]);
  return jsQR(colours, side, side)?.data;
}
