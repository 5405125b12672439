// What the player's scripts see and do in a page: what it says to the application, what the picture
// shows, how it looks.

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import path from "node:path";

import axe from "axe-core";

export const SIZES = { wide: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

// The simulated device lays its picture out on 640 by 360 units, scaled to fit.
const UNITS = { width: 640, height: 360 };
export const LINES = { keys: 28, mouse: 48, gamepad: 68, text: 304, sensors: 324 };
export const BUTTONS = { camera: 92, microphone: 244, keyboard: 396 };
const BUTTON_MIDDLE = 222;

const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
// Nothing else differs in the dark.
const CONTRAST = { type: "rule", values: ["color-contrast"] };

/** In the page, before its scripts: keeps all that is said over a data channel. */
export function keepSaid() {
  window.said = [];
  const send = RTCDataChannel.prototype.send;
  RTCDataChannel.prototype.send = function (text) {
    window.said.push(JSON.parse(text));
    return send.call(this, text);
  };
}

/**
 * Answers with the files of `folder`, where there is one, in place of the gateway's; as the gateway
 * does that lists `origin` for frames.
 */
export function serveFrom(folder, origin) {
  const policy = folder && readFileSync(path.join(folder, "../src/content_policy.rs"), "utf8")
    .match(/POLICY: &str = "([^"]*)"/)[1].replace(/\\\s+/g, "");
  const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
  return (route) => {
    const { pathname, protocol } = new URL(route.request().url());
    // The gateway's are the only ones over TLS.
    if (protocol !== "https:") return route.fallback();
    const pages = { "/": "index.html", "/console": "console.html", "/embed/": "embed/index.html" };
    const name = pages[pathname] ?? pathname.slice(1);
    const file = folder && path.join(folder, name);
    if (!file || !existsSync(file) || !types[path.extname(file)]) return route.fallback();
    const headers = { "content-type": `${types[path.extname(file)]}; charset=utf-8`,
      "content-security-policy": policy };
    if (pathname !== "/embed/") return route.fulfill({ body: readFileSync(file), headers });
    headers["content-security-policy"] = policy
      .replace("frame-ancestors 'none'", `frame-ancestors ${origin}`);
    const body = readFileSync(file, "utf8").replace('origins" content=""', `origins" content="${origin}"`);
    return route.fulfill({ body, headers });
  };
}

export function equal(found, wanted) {
  const [one, other] = [found, wanted].map((value) => JSON.stringify(value));
  if (one !== other) throw new Error(`${one} is not ${other}`);
}

/** Waits until something on the page matches `selector`. */
export function has(page, selector) {
  return page.waitForFunction((selector) => Boolean(document.querySelector(selector)), selector);
}

/** Does `work`, and returns what the page said to the application meanwhile, without movements. */
export async function saidBy(page, work) {
  await page.evaluate(() => (window.said.length = 0));
  await work();
  return page.evaluate(() => window.said.filter(({ type }) => type !== "input::mouse-move"));
}

/** Does `work` until the picture shows more in a line of the device than before. */
export async function seenIn(page, line, work) {
  const before = await page.evaluate(light, { at: LINES[line], units: UNITS });
  await work();
  await page.waitForFunction(light, { at: LINES[line], units: UNITS, beyond: before });
}

/**
 * In the page: how much of a line of the device is light, from 0 to 1; with `beyond`, whether that
 * differs from it.
 */
function light({ at, units, beyond }) {
  const video = document.querySelector("video");
  const { videoWidth, videoHeight } = video;
  const scale = Math.min(videoWidth / units.width, videoHeight / units.height);
  const [width, height] = [Math.round(400 * scale), Math.round(16 * scale)];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(video, -Math.round(8 * scale), -Math.round(at * scale));
  const pixels = context.getImageData(0, 0, width, height).data;
  let found = 0;
  for (let n = 0; n < pixels.length; n += 4) found += pixels[n + 1] > 150;
  const share = found / (width * height);
  return beyond === undefined ? share : Math.abs(share - beyond) > 0.003;
}

/** In the page: whether the picture is magenta at all pixels, give or take the codec. */
export function magenta(pixels) {
  const video = document.querySelector("video");
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  return pixels.every(({ x, y }) => {
    context.drawImage(video, -Math.round(x), -Math.round(y));
    const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
    return red > 180 && green < 90 && blue > 180;
  });
}

/** Returns the place of the window at which a pixel of the picture is shown, upright. */
export async function windowPlace(page, pixel) {
  return page.evaluate(({ x, y }) => {
    const video = document.querySelector("video");
    const { left, top, width, height } = video.getBoundingClientRect();
    const scale = Math.min(width / video.videoWidth, height / video.videoHeight);
    return {
      x: left + width / 2 + (x - video.videoWidth / 2) * scale,
      y: top + height / 2 + (y - video.videoHeight / 2) * scale,
    };
  }, pixel);
}

/** Taps on a button that the device draws. */
export async function tapOn(page, button) {
  const scale = await page.evaluate(({ width, height }) => {
    const { videoWidth, videoHeight } = document.querySelector("video");
    return Math.min(videoWidth / width, videoHeight / height);
  }, UNITS);
  const place = await windowPlace(page, { x: BUTTONS[button] * scale, y: BUTTON_MIDDLE * scale });
  await page.mouse.click(place.x, place.y);
}

/** Looks at states of a page: with axe, and as pictures where `pattern` says whereto. */
export class Looks {
  findings = [];
  pictures = 0;
  #pattern;

  constructor(pattern) {
    this.#pattern = pattern;
  }

  async at(page, name, { sizes = ["wide", "phone"], before = () => {} } = {}) {
    for (const size of sizes) {
      await page.setViewportSize(SIZES[size]);
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        await before(page);
        await page.evaluate(() => new Promise((done) => {
          requestAnimationFrame(() => setTimeout(done, 60));
        }));
        const rules = colorScheme === "dark" ? CONTRAST : RULES;
        await this.check(page, `${name} ${size} ${colorScheme}`, rules);
        await this.rest(page, `${name} ${size} ${colorScheme}`);
        await this.picture(page, `${name}-${size}-${colorScheme}`);
      }
    }
    await page.setViewportSize(SIZES.wide);
    await page.emulateMedia({ colorScheme: "light", reducedMotion: "no-preference" });
  }

  async picture(page, name) {
    if (!this.#pattern) return;
    const file = this.#pattern.replace("%", name);
    mkdirSync(path.dirname(file), { recursive: true });
    await page.screenshot({ path: file });
    this.pictures += 1;
  }

  /** Nothing moves for whoever wants nothing to. */
  async rest(page, name) {
    const moving = await page.evaluate(() => document.getAnimations()
      .filter(({ playState }) => playState === "running").map(({ effect }) => effect.target.className));
    if (moving.length) this.findings.push(`${name}: ${moving.join(", ")} moves`);
  }

  async check(page, name, rules = RULES) {
    if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axe.source);
    // What fades in has not its colours yet.
    await page.evaluate(() => Promise.allSettled(document.getAnimations()
      .filter(({ effect }) => effect.getComputedTiming().endTime < Infinity)
      .map(({ finished }) => finished)));
    const { violations } = await page.evaluate((runOnly) => window.axe.run({ runOnly }), rules);
    for (const { id, nodes } of violations) {
      this.findings.push(`${name}: ${id} at ${nodes.map(({ target }) => target.join(" ")).join(", ")}`);
    }
    const beyond = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    if (beyond) this.findings.push(`${name}: it is wider than the window`);
  }
}
