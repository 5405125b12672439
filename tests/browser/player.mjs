// Does in the player, in a real browser, what people do with an application: touches and types, looks
// at the picture and at how it comes, sends a camera, watches only, loses the connection and gets it
// back. Each is proven by what the application says or shows.
//
//   node player.mjs <address of the gateway> <application>
//
// STREAM_TOKEN is the token of an account. Where STREAM_PICTURES is a path, pictures of every state
// are written there, their names in place of its `%`. STREAM_UI names a folder that the page is read
// from instead of the gateway, while somebody works on it, and STREAM_ONLY the steps to be done.
//
// Prints an object of figures; when a step fails it says which on stderr and exits with 1.

import path from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";

import { ChromiumVisitor } from "./chromium_visitor.mjs";
import { allow, changes, complained, judge, openPage, reach, redact } from "./page.mjs";
import * as ends from "./player_ends.mjs";
import * as input from "./player_input.mjs";
import { Looks, equal, has, keepSaid, saidBy, seenIn, serveFrom } from "./player_page.mjs";
import * as picture from "./player_picture.mjs";

const DEADLINE_MS = 60_000;
const MOST_WEIGHT = 60 * 1024;

const [gateway, app] = process.argv.slice(2);
const { STREAM_TOKEN, STREAM_PICTURES, STREAM_UI, STREAM_ONLY } = process.env;
const ui = STREAM_UI ?? new URL("../../actors/gateway/ui", import.meta.url).pathname;

let current = "start the browser";
const looks = new Looks(STREAM_PICTURES);
const figures = {};
let page;

const at = { gateway, app, token: STREAM_TOKEN, ui };
let by;

const STEPS = {
  "texts: say everything in both languages": sayAll,
  "open: play a session": open,
  "mouse: use the mouse": () => input.useMouse(by),
  "lock: lock the pointer": () => input.lockPointer(by),
  "touch: use ten fingers": () => input.useFingers(by),
  "keys: type": () => input.typeKeys(by),
  "text: write text": text,
  "pad: use a gamepad": gamepad,
  "bar: use the bar by keys alone": () => input.useBar(by),
  "turn: rotate the picture": () => picture.turn(by),
  "sound: hear it": () => picture.hear(by),
  "take: take the picture along": take,
  "figures: read the statistics": readFigures,
  "media: send camera and microphone": media,
  "fit: fit the screen to the window": () => picture.fit(by),
  "shaky: get over a connection that is shaky": () => ends.getOver(by),
  "lost: get a lost connection back": () => ends.comeBack(by),
  "over: be told how it ended": () => ends.beReplaced(by, at),
  "wait: wait until nobody controls it": wait,
  "view: watch only": () => ends.watchOnly(by, at),
  "end: end the session": () => ends.startAndEnd(by, at),
};

try {
  // A page that does not come from the gateway's address may not open a socket there otherwise.
  const own = STREAM_UI ? ["--disable-features=LocalNetworkAccessChecks"] : [];
  page = await openPage(DEADLINE_MS, ["--lang=en-US", "--use-fake-device-for-media-stream", ...own]);
  await page.context().addInitScript(keepSaid);
  await page.context().addInitScript(picture.keepAwake);
  by = new ChromiumVisitor(page, looks);
  await page.context().route("**/*", serveFrom(STREAM_UI));
  const begun = Date.now();
  for (const [name, work] of Object.entries(STEPS)) {
    const [short, sentence] = name.split(": ");
    if (STREAM_ONLY && !["open", ...STREAM_ONLY.split(",")].includes(short)) continue;
    current = sentence;
    await work();
  }
  current = "find no error on the page";
  judge();
  equal(looks.findings, []);
  console.log(JSON.stringify({ ok: true, ...figures, pictures: looks.pictures, ms: Date.now() - begun }));
} catch (error) {
  const told = [error.message.split("\n")[0], ...complained(), ...looks.findings].join(" | ");
  console.error(`could not ${current}: ${redact(told)}`);
  if (page) await looks.picture(page, "failed");
  process.exitCode = 1;
} finally {
  await page?.context().browser().close();
}
process.exit();

// The steps

async function sayAll() {
  const [{ en }, { de }] = await Promise.all(
    ["en", "de"].map((name) => import(path.join(ui, `player/texts/${name}.js`))));
  equal(Object.keys(de), Object.keys(en));
  const holes = (text) => [...new Set(JSON.stringify(text).match(/\{\w+\}/g) ?? [])].sort().join();
  for (const key of Object.keys(en)) {
    equal(`${key} ${typeof de[key]} ${holes(de[key])}`, `${key} ${typeof en[key]} ${holes(en[key])}`);
  }
}

async function open() {
  const loaded = new Map();
  page.on("response", async (response) => {
    const { pathname } = new URL(response.url());
    if (pathname.startsWith("/1.0/") || !response.ok()) return;
    loaded.set(pathname, (await response.body().catch(() => "")).toString());
  });
  await page.goto(`${gateway}/`);
  await reach(page, "idle");
  await page.getByRole("button", { name: "Continue", exact: true }).waitFor();
  await by.look("token-form");
  await page.goto(`${gateway}/#token=${STREAM_TOKEN}&app=${app}&start=1`);
  await reach(page, "asking");
  await by.look("link-asked");
  await by.click("Sign in and go on");
  await reach(page, "streaming");
  await page.waitForFunction(changes);
  figures.files = loaded.size;
  figures.gzip_bytes = [...loaded.values()].reduce((sum, body) => sum + gzipSync(body).length, 0);
  if (figures.gzip_bytes > MOST_WEIGHT) throw new Error(`it weighs ${figures.gzip_bytes} bytes`);
  await page.setViewportSize({ width: 1280, height: 800 });
}

async function text() {
  const cdp = await page.context().newCDPSession(page);
  await by.press("Keyboard");
  await page.locator("stream-player.captured").waitFor();
  const composed = await saidBy(page, () => seenIn(page, "text", async () => {
    await cdp.send("Input.imeSetComposition", { text: "kan", selectionStart: 3, selectionEnd: 3 });
    await cdp.send("Input.insertText", { text: "漢" });
  }));
  equal(composed.map(({ data }) => [data.type, data.data.text]).filter(([, text]) => text),
    [[4, "kan"], [4, "漢"], [1, "漢"]]);
  await softKeyboard(cdp);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await input.paste(by);
  await input.writeLine(by);
}

/** A phone's keyboard names no key: the page is told of each edit before it is made (Input Events). */
async function softKeyboard(cdp) {
  const edits = { DeleteBackward: { code: 67, times: 1 }, InsertNewline: { code: 66, times: 1 } };
  for (const [command, wanted] of Object.entries(edits)) {
    const said = await saidBy(page, () => cdp.send("Input.dispatchKeyEvent", { type: "rawKeyDown",
      key: "Unidentified", windowsVirtualKeyCode: 229, commands: [command] }));
    equal(said.map(({ type, data }) => [type, data]), [["input::ime-event", { type: 2, data: wanted }]]);
  }
  const word = await saidBy(page, () => cdp.send("Input.insertText", { text: "word" }));
  equal(word.map(({ data }) => data), [{ type: 1, data: { text: "word" } }]);
}

async function gamepad() {
  await page.evaluate(() => {
    const pad = { index: 0, id: "pad", buttons: [{ pressed: false }, { pressed: false }], axes: [0, 0] };
    window.pad = pad;
    navigator.getGamepads = () => [pad, null, null, null];
    dispatchEvent(new Event("gamepadconnected"));
  });
  await page.mouse.move(300, 300);
  await page.mouse.move(310, 310);
  await has(page, '[data-name="gamepad"]:not([hidden])');
  const said = await saidBy(page, () => seenIn(page, "gamepad", async () => {
    await page.evaluate(() => {
      window.pad.buttons[1].pressed = true;
      window.pad.axes[0] = 0.5;
    });
    await page.waitForFunction(() => window.said.length >= 2);
  }));
  equal(said.map(({ type, data }) => [type, data]), [
    ["input::gamepad-button", { id: 0, index: 1, pressed: true }],
    ["input::gamepad-axes", { id: 0, index: 0, value: 0.5 }],
  ]);
  await by.press("Gamepad");
}

async function take() {
  await picture.screenshot(by);
  await picture.popOut(by);
  await picture.fillScreen(by);
}

async function readFigures() {
  await by.press("Statistics");
  const panel = page.locator("stream-statistics");
  await panel.getByText(/^directly.* over UDP$/).waitFor();
  await panel.getByText("1280 × 720").waitFor();
  await page.waitForFunction(() =>
    [...document.querySelectorAll("stream-statistics polyline")]
      .every((line) => line.getAttribute("points").split(" ").length >= 3));
  const frames = await panel.locator("tr").nth(1).locator(".value").textContent();
  if (!(Number.parseInt(frames, 10) > 5)) throw new Error(`${frames} frames`);
  const { width } = await panel.boundingBox();
  equal(width, 320);
  const hops = await panel.locator(".about").last().locator("dt").allTextContents();
  equal(hops, ["join", "socket", "application", "offer", "ICE", "first picture"]);
  await by.look("statistics");
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await by.click("Copy for a report");
  await by.sees("The report was copied.");
  const report = await page.evaluate(() => navigator.clipboard.readText());
  for (const part of ["Resolution: 1280 × 720", "Path: directly", "Bitrate: ", "ICE: "]) {
    if (!report.includes(part)) throw new Error(`${part} is not in ${report}`);
  }
  if (/[Tt]oken|AgE|candidate:/.test(report)) throw new Error("it says too much");
  await by.click("Close");
  await panel.waitFor({ state: "hidden" });
}

async function media() {
  await page.context().grantPermissions(["camera", "microphone"]);
  await picture.sendMedia(by);
  await picture.sendNoCamera(by);
}

/** Somebody who may only watch waits for whoever controls the session to leave, or leaves it. */
async function wait() {
  await ends.start(by, at);
  const { id, link } = await ends.linkToWatch(by, at);
  const watching = await page.context().newPage();
  watching.setDefaultTimeout(DEADLINE_MS);
  // It asks until the other has left.
  allow(/status of 409 .*\/join\)/);
  await watching.goto(link);
  await watching.getByText("You will watch as soon as it is free").first().waitFor();
  await watching.getByRole("timer").getByText(/^Next try in \d s$/).waitFor();
  await looks.at(watching, "waiting");
  const button = (name) => watching.getByRole("button", { name, exact: true });
  await button("Leave").click();
  await reach(watching, "ended");
  await watching.goto(link);
  await button("Try now").waitFor();
  await page.goto("about:blank");
  // Nobody waits for the next try who has one now.
  while (await button("Try now").isVisible()) {
    await button("Try now").click();
    await watching.waitForTimeout(500);
  }
  await reach(watching, "streaming");
  await watching.close();
  await ends.ask(at, "DELETE", `sessions/${id}`);
}
