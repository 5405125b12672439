// Does in the player, in Firefox, what player.mjs does in Chromium; what an input method composes and
// gamepads are left to that. Each is proven by what the application says or shows.
//
//   node firefox_player.mjs <address of the gateway> <application> [--restarts]
//
// With --restarts it prints `{"wants":"restart"}` when whoever runs it is to restart the gateway.
// STREAM_TOKEN is the token of an account. STREAM_UI and STREAM_ONLY are those of player.mjs.
//
// Prints an object of figures; when a step fails, or the page complains, says so on stderr and exits
// with 1.

import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";

import { FirefoxVisitor, launch, openPage } from "./firefox_visitor.mjs";
import { changes, keepSockets, redact } from "./page.mjs";
import * as ends from "./player_ends.mjs";
import * as input from "./player_input.mjs";
import { equal, has, saidBy, seenIn, serveFrom, windowPlace } from "./player_page.mjs";
import * as picture from "./player_picture.mjs";

const DEADLINE_MS = 40_000;

const [gateway, app, option] = process.argv.slice(2);
const { STREAM_TOKEN, STREAM_UI, STREAM_ONLY } = process.env;
const ui = STREAM_UI ?? new URL("../../actors/gateway/ui", import.meta.url).pathname;
const at = { gateway, app, token: STREAM_TOKEN, ui };

const STEPS = {
  "open: play a session": () => ends.start(by, at),
  "mouse: use the mouse": () => input.useMouse(by),
  "edge: click at the edge of the picture": edge,
  "lock: lock the pointer": () => input.lockPointer(by),
  "touch: use ten fingers": () => input.useFingers(by),
  "keys: type": () => input.typeKeys(by),
  "text: write text": text,
  "bar: use the bar by keys alone": () => input.useBar(by),
  "turn: rotate the picture": () => picture.turn(by),
  "sound: hear it": () => picture.hear(by),
  "take: take the picture along": take,
  "media: send camera and microphone": () => picture.sendMedia(by),
  "fit: fit the screen to the window": () => picture.fit(by),
  "shaky: get over a connection that is shaky": () => ends.getOver(by),
  "lost: get a lost connection back": () => ends.comeBack(by),
  "gateway: go on while the gateway restarts": restart,
  // It takes the focus along, which comes back to nobody here.
  "pop: take the picture out of the page": popOut,
  "over: be told how it ended": () => ends.beReplaced(by, at),
  "view: watch only": () => ends.watchOnly(by, at),
  "end: end the session": () => ends.startAndEnd(by, at),
  "errors: find none on the page": findNone,
};

const downloads = mkdtempSync(path.join(os.tmpdir(), "stream-firefox-"));
const complaints = [];
let current = "start the browser";
let browser;
let by;

try {
  browser = await launch(DEADLINE_MS, downloads);
  const page = await openPage(browser, DEADLINE_MS, complaints);
  await page.evaluateOnNewDocument(picture.keepAwake);
  await page.evaluateOnNewDocument(keepSockets);
  by = new FirefoxVisitor(page, downloads);
  if (STREAM_UI) await by.serve(serveFrom(STREAM_UI));
  const begun = Date.now();
  for (const [name, work] of Object.entries(STEPS)) {
    const [short, sentence] = name.split(": ");
    if (STREAM_ONLY && !["open", "errors", ...STREAM_ONLY.split(",")].includes(short)) continue;
    current = sentence;
    await work();
  }
  console.log(JSON.stringify({ ok: true, ms: Date.now() - begun }));
} catch (error) {
  const told = [error.message.split("\n")[0], ...complaints].join(" | ");
  console.error(`could not ${current}: ${redact(told)}`);
  process.exitCode = 1;
} finally {
  await browser?.close();
  rmSync(downloads, { recursive: true, force: true });
}
process.exit();

/** Where Firefox likes to lay a button of its own over a video, it is the application's click. */
async function edge() {
  const { page } = by;
  const place = await windowPlace(page, { x: 1242, y: 500 });
  const said = await saidBy(page, async () => {
    // The button takes its time to come.
    for (const until = Date.now() + 1_500; Date.now() < until;) {
      await page.mouse.move(place.x - 20, place.y);
      await page.evaluate(() => window.said.length = 0);
      await page.mouse.click(place.x, place.y);
      const clicks = await page.evaluate(() =>
        window.said.filter(({ type }) => type === "input::mouse-button").length);
      equal(clicks, 2);
    }
  });
  equal(said.at(-1).data, { button: 1, pressed: false });
}

async function text() {
  const { page } = by;
  await by.press("Keyboard");
  await has(page, "stream-player.captured");
  // WebDriver has only keys. What a phone's keyboard does comes to the field as these events.
  const edited = await saidBy(page, () => seenIn(page, "text", () => page.evaluate(() => {
    const edits = [["insertText", "softly"], ["deleteContentBackward", null], ["insertLineBreak", null]];
    for (const [inputType, data] of edits) {
      document.activeElement.dispatchEvent(
        new InputEvent("beforeinput", { inputType, data, bubbles: true, cancelable: true }));
    }
  })));
  equal(edited.map(({ data }) => data), [{ type: 1, data: { text: "softly" } },
    { type: 2, data: { code: 67, times: 1 } }, { type: 2, data: { code: 66, times: 1 } }]);
  await input.paste(by);
  await input.writeLine(by);
}

/** The page has complained of nothing; what it would complain of comes here. */
async function findNone() {
  equal(complaints, []);
  await by.page.evaluate(() => {
    const image = document.createElement("img");
    image.src = "https://elsewhere.invalid/";
    document.body.append(image);
    setTimeout(() => {
      throw new Error("uncaught");
    });
  });
  for (const until = Date.now() + DEADLINE_MS; complaints.length < 2 && Date.now() < until;) {
    await by.page.evaluate(() => 0);
  }
  const heard = complaints.splice(0).map((text) => text.match(/img-src|uncaught/)?.[0]);
  equal(heard.sort(), ["img-src", "uncaught"]);
}

async function take() {
  await picture.screenshot(by);
  await picture.fillScreen(by);
}

async function popOut() {
  await picture.popOut(by);
  await has(by.page, "video[disablepictureinpicture]");
  await edge();
}

/** The stream goes on without its socket, which is opened again. */
async function restart() {
  if (option !== "--restarts") return;
  const { page } = by;
  const socket = await page.evaluate(() => window.sockets.length - 1);
  console.log(JSON.stringify({ wants: "restart" }));
  await page.waitForFunction((nth) => window.sockets[nth].readyState === WebSocket.CLOSED, socket);
  await page.waitForFunction((nth) => window.sockets.length > nth + 1 &&
    window.sockets.at(-1).readyState === WebSocket.OPEN, socket);
  await page.evaluate(() => delete window.firstDigest);
  await page.waitForFunction(changes);
  await has(page, 'stream-player[data-state="playing"]');
}
