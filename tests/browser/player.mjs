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

import { readFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";

import { allow, changes, complained, judge, openPage, reach, redact, visit } from "./page.mjs";
import {
  Looks, equal, keepSaid, magenta, saidBy, seenIn, serveFrom, tapOn, windowPlace,
} from "./player_page.mjs";

const DEADLINE_MS = 60_000;
const MOST_WEIGHT = 60 * 1024;

const [gateway, app] = process.argv.slice(2);
const { STREAM_TOKEN, STREAM_PICTURES, STREAM_UI, STREAM_ONLY } = process.env;
const ui = STREAM_UI ?? new URL("../../actors/gateway/ui", import.meta.url).pathname;

let current = "start the browser";
const looks = new Looks(STREAM_PICTURES);
const figures = {};
let page;

const STEPS = {
  "texts: say everything in both languages": sayAll,
  "open: play a session": open,
  "mouse: use the mouse": mouse,
  "lock: lock the pointer": lock,
  "touch: use ten fingers": touch,
  "keys: type": keys,
  "text: write text": text,
  "pad: use a gamepad": gamepad,
  "bar: use the bar by keys alone": bar,
  "turn: rotate the picture": turn,
  "sound: hear it": sound,
  "take: take the picture along": take,
  "figures: read the statistics": readFigures,
  "media: send camera and microphone": media,
  "fit: fit the screen to the window": fit,
  "shaky: get over a connection that is shaky": shaky,
  "lost: get a lost connection back": lost,
  "over: be told how it ended": over,
  "view: watch only": view,
  "end: end the session": end,
};

try {
  // A page that does not come from the gateway's address may not open a socket there otherwise.
  const own = STREAM_UI ? ["--disable-features=LocalNetworkAccessChecks"] : [];
  page = await openPage(DEADLINE_MS, ["--lang=en-US", "--use-fake-device-for-media-stream", ...own]);
  await page.context().addInitScript(keepSaid);
  await page.context().addInitScript(keepAwake);
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

// What it stands on

function role(kind, name) {
  return page.getByRole(kind, { name, exact: true });
}

async function sees(text) {
  await page.getByText(text).first().waitFor();
}

/** Shows the bar, and presses a button of it. */
async function press(name) {
  await page.mouse.move(300, 300);
  await page.mouse.move(320, 320);
  await role("button", name).click();
}

async function ask(method, way, body) {
  const response = await page.context().request.fetch(`${gateway}/1.0/${way}`, {
    method, ignoreHTTPSErrors: true, headers: { Authorization: `Macaroon root=${STREAM_TOKEN}` },
    data: body,
  });
  return (await response.json()).metadata;
}

function session() {
  return page.evaluate(() => document.documentElement.dataset.session);
}

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
  await role("button", "Continue").waitFor();
  await looks.at(page, "token-form");
  await page.goto(`${gateway}/#token=${STREAM_TOKEN}&app=${app}&start=1`);
  await reach(page, "asking");
  await looks.at(page, "link-asked");
  await role("button", "Sign in and go on").click();
  await reach(page, "streaming");
  await page.waitForFunction(changes);
  figures.files = loaded.size;
  figures.gzip_bytes = [...loaded.values()].reduce((sum, body) => sum + gzipSync(body).length, 0);
  if (figures.gzip_bytes > MOST_WEIGHT) throw new Error(`it weighs ${figures.gzip_bytes} bytes`);
  await page.setViewportSize({ width: 1280, height: 800 });
}

async function mouse() {
  const pixel = { x: 400, y: 600 };
  const place = await windowPlace(page, pixel);
  const said = await saidBy(page, async () => {
    await seenIn(page, "mouse", async () => {
      await page.mouse.click(place.x, place.y);
      await page.mouse.click(place.x, place.y, { button: "right" });
      await page.mouse.wheel(0, 100);
    });
    await page.waitForFunction(magenta, [pixel]);
  });
  const button = (number, pressed) => ["input::mouse-button", { button: number, pressed }];
  equal(said.map(({ type, data }) => [type, data]), [button(1, true), button(1, false),
    button(3, true), button(3, false), ["input::mouse-wheel", { x: 0, y: -1 }]]);
  await page.locator("stream-player.captured").waitFor();
}

async function lock() {
  await press("Lock the pointer");
  await page.locator("stream-player.locked").waitFor();
  await page.mouse.move(200, 200);
  const moved = () => page.waitForFunction(() =>
    window.said.some(({ type, data }) => type === "input::mouse-move" && data.x === undefined && data.rx));
  await page.mouse.move(260, 230);
  await moved();
  await page.evaluate(() => document.exitPointerLock());
  await page.locator("stream-player:not(.locked)").waitFor();
}

async function touch() {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Emulation.setTouchEmulationEnabled", { enabled: true, maxTouchPoints: 10 });
  const pixels = Array.from({ length: 10 }, (_, n) => ({ x: 100 + 110 * n, y: 620 }));
  const places = await Promise.all(pixels.map((pixel) => windowPlace(page, pixel)));
  const points = (count, dy = 0) => places.slice(0, count)
    .map(({ x, y }, id) => ({ x: Math.round(x), y: Math.round(y) + dy, id }));
  const dispatch = (type, touchPoints) => cdp.send("Input.dispatchTouchEvent", { type, touchPoints });
  const said = await saidBy(page, async () => {
    for (let count = 1; count <= 10; count += 1) await dispatch("touchStart", points(count));
    await page.waitForFunction(magenta, pixels);
    await dispatch("touchMove", points(10, 20));
    await dispatch("touchEnd", []);
    await page.waitForFunction(() => window.said.filter(({ data }) => data.last).length === 1);
  });
  const of = (kind) => said.filter(({ type }) => type === `input::touch-${kind}`);
  equal(of("start").map(({ data }) => data.id), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  equal(of("end").length, 10);
  if (of("move").length < 10) throw new Error(`only ${of("move").length} movements`);
  await cdp.send("Emulation.setTouchEmulationEnabled", { enabled: false });
}

async function keys() {
  const place = await windowPlace(page, { x: 900, y: 600 });
  await page.mouse.click(place.x, place.y);
  await sees("Press Esc twice to release the keyboard");
  await looks.at(page, "captured");
  const said = await saidBy(page, () => seenIn(page, "text", async () => {
    await page.keyboard.press("Shift+KeyH");
    await page.keyboard.press("KeyI");
    await page.keyboard.press("ArrowLeft");
  }));
  const codes = said.map(({ data }) => (data.pressed ? data.code : -data.code));
  equal(codes, [84, 11, -11, -84, 12, -12, 80, -80]);
  // What another keyboard writes there comes as text.
  const typed = await saidBy(page, () => page.keyboard.type("é"));
  equal(typed.map(({ data }) => data), [{ type: 1, data: { text: "é" } }]);
  await page.keyboard.down("KeyW");
  const released = await saidBy(page, async () => {
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
  });
  await page.locator("stream-player:not(.captured)").waitFor();
  equal(released.at(-1).data, { code: 26, pressed: false });
  await page.keyboard.up("KeyW");
  const after = await saidBy(page, () => page.keyboard.press("KeyX"));
  equal(after, []);
}

async function text() {
  const cdp = await page.context().newCDPSession(page);
  await press("Keyboard");
  await page.locator("stream-player.captured").waitFor();
  const composed = await saidBy(page, () => seenIn(page, "text", async () => {
    await cdp.send("Input.imeSetComposition", { text: "kan", selectionStart: 3, selectionEnd: 3 });
    await cdp.send("Input.insertText", { text: "漢" });
  }));
  equal(composed.map(({ data }) => [data.type, data.data.text]).filter(([, text]) => text),
    [[4, "kan"], [4, "漢"], [1, "漢"]]);
  await softKeyboard(cdp);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.evaluate(() => navigator.clipboard.writeText("from the clipboard"));
  const pasted = await saidBy(page, () => page.keyboard.press("Control+KeyV"));
  equal(pasted.filter(({ type }) => type === "input::ime-event").map(({ data }) => data.data.text),
    ["from the clipboard"]);
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  const again = await saidBy(page, async () => {
    await press("Paste");
    await sees("Pasted.");
  });
  equal(again.map(({ data }) => data.data.text), ["from the clipboard"]);
  await page.evaluate(() => {
    navigator.clipboard.readText = () => Promise.reject(new DOMException("", "NotAllowedError"));
  });
  await press("Paste");
  await sees("did not let this page read the clipboard");
  await page.evaluate(() => delete navigator.clipboard.readText);
  await press("Text input");
  await page.getByRole("textbox", { name: "Text input" }).fill("Grüße 🙂");
  await looks.at(page, "text-input");
  const written = await saidBy(page, () => page.keyboard.press("Enter"));
  equal(written.map(({ data }) => data.data.text), ["Grüße 🙂"]);
  await page.keyboard.press("Escape");
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
  await role("button", "Gamepad").waitFor();
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
  await press("Gamepad");
}

async function bar() {
  await page.mouse.move(300, 300);
  await page.mouse.move(310, 310);
  await looks.at(page, "bar", { before: async () => {
    await page.evaluate(() => {
      const player = document.querySelector("stream-player");
      player.bar.show();
      player.bar.open(innerWidth < 900);
    });
  } });
  await page.evaluate(() => document.querySelector("stream-player").bar.open(false));
  // It goes by itself, and comes for whoever has no pointer.
  await page.locator("stream-player:not(.moved)").waitFor();
  await page.evaluate(() => document.querySelector("stream-player .surface").focus());
  for (let tabs = 0; tabs < 30; tabs += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement.dataset.name === "back")) break;
  }
  const said = await saidBy(page, () => page.keyboard.press("Enter"));
  equal(said.map(({ data }) => [data.code, data.pressed]), [[92, true], [92, false]]);
  const louder = await saidBy(page, async () => {
    await press("Volume up");
    await press("Volume down");
  });
  equal(louder.map(({ data }) => data.code), [90, 90, 89, 89]);
  const small = await page.evaluate(() => [...document.querySelectorAll("stream-player .bar button")]
    .filter((button) => !button.hidden).map((button) => button.getBoundingClientRect())
    .filter(({ width, height }) => width < 44 || height < 44).length);
  equal(small, 0);
}

async function turn() {
  await page.setViewportSize({ width: 1280, height: 800 });
  const said = await saidBy(page, () => seenIn(page, "sensors", () => press("Rotate")));
  equal(said.at(-1).data, { sensor: "acceleration", x: -9.81, y: 0, z: 0 });
  // Turned clockwise, 720 by 1280 fits at 450 by 800: the pixel's left is its top.
  const pixel = { x: 240, y: 610 };
  const scale = 800 / 1280;
  await page.mouse.click(640 + (360 - pixel.y) * scale, pixel.x * scale);
  await page.waitForFunction(magenta, [pixel]);
  await looks.at(page, "turned");
  for (let turns = 0; turns < 3; turns += 1) await press("Rotate");
  await page.locator('.surface[data-turns="0"]').waitFor();
}

/** In the page, before its scripts: counts what keeps the screen on. */
function keepAwake() {
  window.awake = 0;
  const request = async () => {
    window.awake += 1;
    return { release: async () => void (window.awake -= 1) };
  };
  Object.defineProperty(navigator, "wakeLock", { value: { request } });
}

async function sound() {
  equal(await page.evaluate(() => window.awake), 1);
  const muted = () => page.evaluate(() => document.querySelector("video").muted);
  equal(await muted(), true);
  await role("button", "Tap for sound").click();
  equal(await muted(), false);
  equal(await role("button", "Tap for sound").count(), 0);
  await press("Sound off");
  equal(await muted(), true);
  await page.getByRole("slider", { name: "Loudness" }).fill("0.4");
  equal(await page.evaluate(() => document.querySelector("video").volume), 0.4);
  equal(await muted(), false);
}

async function take() {
  const [download] = await Promise.all([page.waitForEvent("download"), press("Screenshot")]);
  if (!/^screenshot-.*\.png$/.test(download.suggestedFilename())) throw new Error("no name");
  const picture = readFileSync(await download.path());
  equal([picture.readUInt32BE(16), picture.readUInt32BE(20)], [1280, 720]);
  await press("Picture in picture");
  await page.waitForFunction(() => document.pictureInPictureElement);
  await press("Picture in picture");
  await page.waitForFunction(() => !document.pictureInPictureElement);
  await press("Full screen");
  await page.waitForFunction(() => document.fullscreenElement?.matches("stream-player"));
  await press("Full screen");
  await page.waitForFunction(() => !document.fullscreenElement);
}

async function readFigures() {
  await press("Statistics");
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
  await looks.at(page, "statistics");
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await role("button", "Copy for a report").click();
  await sees("The report was copied.");
  const report = await page.evaluate(() => navigator.clipboard.readText());
  for (const part of ["Resolution: 1280 × 720", "Path: directly", "Bitrate: ", "ICE: "]) {
    if (!report.includes(part)) throw new Error(`${part} is not in ${report}`);
  }
  if (/[Tt]oken|AgE|candidate:/.test(report)) throw new Error("it says too much");
  await role("button", "Close").click();
  await panel.waitFor({ state: "hidden" });
}

async function media() {
  await page.context().grantPermissions(["camera", "microphone"]);
  const seen = () => page.evaluate(() => {
    const video = document.querySelector("video");
    const context = new OffscreenCanvas(90, 50).getContext("2d", { willReadFrequently: true });
    context.drawImage(video, -1070, -620);
    return context.getImageData(0, 0, 90, 50).data.reduce((sum, byte) => sum + byte, 0);
  });
  const before = await seen();
  await tapOn(page, "camera");
  await sees("The application asks for your camera.");
  await looks.at(page, "camera-asked");
  equal(await page.evaluate(() => window.peers.at(-1).getSenders().some(({ track }) => track)), false);
  await role("button", "Send camera").click();
  for (let tries = 0; Math.abs((await seen()) - before) < 60_000; tries += 1) {
    if (tries > 200) throw new Error("the camera does not show");
    await page.waitForTimeout(50);
  }
  await page.locator('[data-name="camera"][aria-pressed="true"]').waitFor();
  await tapOn(page, "camera");
  await page.locator('[data-name="camera"][aria-pressed="false"]').waitFor();
  await tapOn(page, "microphone");
  await sees("The application asks for your microphone.");
  await looks.at(page, "microphone-asked");
  await role("button", "Send microphone").click();
  await page.locator('[data-name="microphone"][aria-pressed="true"]').waitFor();
  await page.waitForFunction(async () => {
    const report = await window.peers.at(-1).getStats();
    return [...report.values()].some(({ type, kind, packetsSent }) =>
      type === "outbound-rtp" && kind === "audio" && packetsSent > 10);
  });
  await press("Microphone");
  await page.locator('[data-name="microphone"][aria-pressed="false"]').waitFor();
  for (const [name, words] of [["NotAllowedError", "did not let this page use the camera"],
    ["NotFoundError", "no camera that would do"], ["NotReadableError", "in use by another program"]]) {
    await page.evaluate((name) => {
      navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", name));
    }, name);
    await press("Camera");
    await sees(words);
  }
  equal(await page.locator("stream-player").getAttribute("data-state"), "playing");
}

async function fit() {
  await press("Fit to window");
  await page.waitForFunction(() => {
    const { videoWidth, videoHeight } = document.querySelector("video");
    return videoWidth === 1280 && videoHeight === 800;
  });
  await page.locator('stream-player[data-state="playing"]').waitFor();
}

/** Has the last connection say of itself what a network does to it. */
async function become(state) {
  await page.evaluate((state) => {
    const peer = window.peers.at(-1);
    Object.defineProperty(peer, "iceConnectionState", { value: state, configurable: true });
    peer.oniceconnectionstatechange();
  }, state);
}

async function shaky() {
  await become("disconnected");
  await page.locator('stream-player[data-state="shaky"]').waitFor();
  await looks.at(page, "shaky");
  await become("connected");
  await page.locator('stream-player[data-state="playing"]').waitFor();
}

async function lost() {
  let refused = 0;
  allow(/net::ERR_FAILED .*\/join\)/, 2);
  await page.route("**/join?*", async (route) => {
    refused += 1;
    if (refused > 2) return route.fallback();
    return route.abort();
  });
  await become("failed");
  await sees("Reconnecting, 1st try");
  await looks.at(page, "reconnecting");
  await page.locator('stream-player[data-state="playing"]').waitFor();
  if (refused < 3) throw new Error("it was not tried again");
  await page.unroute("**/join?*");
  await page.evaluate(() => delete window.firstDigest);
  await page.waitForFunction(changes);
}

async function over() {
  const id = await session();
  await ask("POST", `sessions/${id}/join`, {});
  await sees("Another client has joined in your place");
  await reach(page, "ended");
  await looks.at(page, "ended");
  await role("button", "Reconnect").click();
  await reach(page, "streaming");
  allow(/status of 401 .*\/join\)/, 1);
  await page.route("**/join?*", (route) => route.fulfill({ status: 401, json: { type: "error" } }));
  await press("Fit to window");
  await sees("it has ended or was revoked");
  await page.unroute("**/join?*");
  equal(await role("button", "Reconnect").count(), 0);
  await role("button", "Choose another application").click();
  await role("button", "Start").waitFor();
  await looks.at(page, "start");
}

async function view() {
  // Whoever controlled it has left.
  await page.goto("about:blank");
  await visit(page, `${gateway}/#token=${STREAM_TOKEN}&app=${app}&start=1`);
  await reach(page, "streaming");
  const id = await session();
  const { attenuate } = await import(path.join(ui, "attenuate.js"));
  const share = await attenuate(STREAM_TOKEN, [`declared session ${id}`, "declared role view"]);
  const controlling = page;
  page = await page.context().newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  // It asks until the other has left.
  allow(/status of 409 .*\/join\)/);
  await page.goto(`${gateway}/#session=${id}&share=${share}`);
  await sees("You will watch as soon as it has left");
  await looks.at(page, "waiting");
  await controlling.close();
  await reach(page, "streaming");
  await page.getByText("View only", { exact: true }).waitFor();
  for (const name of ["Keyboard", "Back", "Paste", "Camera", "Fit to window", "End session"]) {
    equal(await role("button", name).count(), 0);
  }
  const place = await windowPlace(page, { x: 400, y: 600 });
  const said = await saidBy(page, async () => {
    await page.mouse.click(place.x, place.y);
    await page.getByText("view only", { exact: true }).waitFor();
    await page.keyboard.press("KeyA");
  });
  equal(said, []);
  await looks.at(page, "view-only", { before: () => page.mouse.click(200, 400) });
  allow(/status of 40[14] .*\/1\.0\/sessions\/\w+\)/, 1);
  await ask("DELETE", `sessions/${id}`);
  // Its end may have reached the tokens already that are bound to it.
  await sees(/^(The session is over\.|The session, or the link to it, has ended\.)$/);
  await looks.at(page, "over");
}

async function end() {
  await page.goto("about:blank");
  await visit(page, `${gateway}/#token=${STREAM_TOKEN}&app=${app}&start=1`);
  await reach(page, "streaming");
  await press("End session");
  await sees("Whoever watches is cut off.");
  await looks.at(page, "end-asked");
  await role("button", "Leave as it is").click();
  equal(await page.evaluate(() => document.documentElement.dataset.state), "streaming");
  await press("End session");
  await page.locator(".ask").getByRole("button", { name: "End session" }).click();
  await reach(page, "ended");
  await sees("The session has ended.");
}
