// What people do with the picture and its sound, and what they send of their own, the same in every
// browser. `by` is a ChromiumVisitor or a FirefoxVisitor.

import { equal, has, magenta, saidBy, seenIn, tapOn } from "./player_page.mjs";

/** In the page, before its scripts: counts what keeps the screen on. */
export function keepAwake() {
  window.awake = 0;
  const request = async () => {
    window.awake += 1;
    return { release: async () => void (window.awake -= 1) };
  };
  Object.defineProperty(navigator, "wakeLock", { value: { request } });
}

export async function turn(by) {
  const { page } = by;
  await page.setViewportSize({ width: 1280, height: 800 });
  const said = await saidBy(page, () => seenIn(page, "sensors", () => by.press("Rotate")));
  equal(said.at(-1).data, { sensor: "acceleration", x: -9.81, y: 0, z: 0 });
  // Turned clockwise, 720 by 1280 fits at 450 by 800: the pixel's left is its top.
  const pixel = { x: 240, y: 610 };
  const scale = 800 / 1280;
  await page.mouse.click(640 + (360 - pixel.y) * scale, pixel.x * scale);
  await page.waitForFunction(magenta, [pixel]);
  await by.look("turned");
  for (let turns = 0; turns < 3; turns += 1) await by.press("Rotate");
  await has(page, '.surface[data-turns="0"]');
}

export async function hear(by) {
  const { page } = by;
  equal(await page.evaluate(() => window.awake), 1);
  const muted = () => page.evaluate(() => document.querySelector("video").muted);
  equal(await muted(), true);
  await by.click("Tap for sound");
  equal(await muted(), false);
  equal(await by.count("Tap for sound"), 0);
  await by.press("Sound off");
  equal(await muted(), true);
  await page.evaluate(() => document.querySelector('input[type="range"][aria-label="Loudness"]').focus());
  for (let steps = 0; steps < 12; steps += 1) await page.keyboard.press("ArrowLeft");
  equal(await page.evaluate(() => document.querySelector("video").volume), 0.4);
  equal(await muted(), false);
}

/** Has the player fill the screen, and be in the page again. */
export async function fillScreen(by) {
  await by.press("Full screen");
  await by.page.waitForFunction(() => document.fullscreenElement?.matches("stream-player"));
  await by.press("Full screen");
  await by.page.waitForFunction(() => !document.fullscreenElement);
}

/** Takes the picture out of the page and back. */
export async function popOut(by) {
  await by.press("Picture in picture");
  await by.page.waitForFunction(() => document.pictureInPictureElement?.matches("stream-player video"));
  await by.press("Picture in picture");
  await by.page.waitForFunction(() => !document.pictureInPictureElement);
}

/** `saves(work)` does `work` and returns the file that the browser saves then, as `{name, bytes}`. */
export async function screenshot(by) {
  const { name, bytes } = await by.saves(() => by.press("Screenshot"));
  if (!/^screenshot-.*\.png$/.test(name)) throw new Error(`it is called ${name}`);
  equal([bytes.readUInt32BE(16), bytes.readUInt32BE(20)], [1280, 720]);
}

/** Sends a camera, which the application shows, and a microphone, once that was agreed to. */
export async function sendMedia(by) {
  const { page } = by;
  const seen = () => page.evaluate(() => {
    const video = document.querySelector("video");
    const context = new OffscreenCanvas(90, 50).getContext("2d", { willReadFrequently: true });
    context.drawImage(video, -1070, -620);
    return context.getImageData(0, 0, 90, 50).data.reduce((sum, byte) => sum + byte, 0);
  });
  const pressed = (name, pressed) => has(page, `[data-name="${name}"][aria-pressed="${pressed}"]`);
  const before = await seen();
  await tapOn(page, "camera");
  await by.sees("The application asks for your camera.");
  await by.look("camera-asked");
  equal(await page.evaluate(() => window.peers.at(-1).getSenders().some(({ track }) => track)), false);
  await by.click("Send camera");
  const deadline = Date.now() + 20_000;
  while (Math.abs((await seen()) - before) < 60_000) {
    if (Date.now() > deadline) throw new Error("the camera does not show");
  }
  await pressed("camera", true);
  await tapOn(page, "camera");
  await pressed("camera", false);
  await tapOn(page, "microphone");
  await by.sees("The application asks for your microphone.");
  await by.look("microphone-asked");
  await by.click("Send microphone");
  await pressed("microphone", true);
  await page.waitForFunction(async () => {
    const report = await window.peers.at(-1).getStats();
    return [...report.values()].some(({ type, kind, packetsSent }) =>
      type === "outbound-rtp" && kind === "audio" && packetsSent > 10);
  });
  await by.press("Microphone");
  await pressed("microphone", false);
}

/** Each reason for which there is no camera has its words, and the stream goes on. */
export async function sendNoCamera(by) {
  const { page } = by;
  for (const [name, words] of [["NotAllowedError", "did not let this page use the camera"],
    ["NotFoundError", "no camera that would do"], ["NotReadableError", "in use by another program"]]) {
    await page.evaluate((name) => {
      navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", name));
    }, name);
    await by.press("Camera");
    await by.sees(words);
  }
  await has(page, 'stream-player[data-state="playing"]');
}

/** Has the application's screen be as large as the window. */
export async function fit(by) {
  await by.press("Fit to window");
  await by.page.waitForFunction(() => {
    const { videoWidth, videoHeight } = document.querySelector("video");
    return videoWidth === 1280 && videoHeight === 800;
  });
  await has(by.page, 'stream-player[data-state="playing"]');
}
