// Firefox as the scripts of the player use it: over WebDriver BiDi, which is built in, and with those
// calls of Playwright's pages that the steps for all browsers need.
//
// FIREFOX names another browser than /usr/bin/firefox-esr.

import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { setTimeout } from "node:timers/promises";

import puppeteer from "puppeteer-core";

import { keepPeers } from "./page.mjs";
import { keepSaid } from "./player_page.mjs";

// What Firefox itself notes of a socket that is lost; the page tells people in its own words.
const NOISE = /^(Firefox can’t establish a connection to the server at|The connection to) wss:/;

const SAVING_TRIES = 200;

const PREFERENCES = {
  "media.peerconnection.ice.loopback": true,
  "media.peerconnection.ice.obfuscate_host_addresses": false,
  "media.autoplay.default": 0,
  // Its H.264 is fetched from elsewhere: here it has VP8.
  "media.gmp-manager.updateEnabled": false,
  "network.captive-portal-service.enabled": false,
  "intl.accept_languages": "en-US",
  // Without a screen there is no mouse, until it is said that there is one.
  "ui.primaryPointerCapabilities": 6,
  // Nobody is there to confirm in its own menu that the page may read the clipboard.
  "dom.events.testing.asyncClipboard": true,
};

// A camera and a microphone of its own making, which nobody has to allow, or no page may use.
const DEVICES = { "media.navigator.streams.fake": true };
const ALLOWED = { ...DEVICES, "media.navigator.permission.disabled": true };
const REFUSED = { ...DEVICES, "permissions.default.camera": 2, "permissions.default.microphone": 2 };

/**
 * Starts Firefox, with a camera and a microphone if there is a folder `downloads`, in which it saves
 * things; else they are refused to every page. What is asked of it may take `patience` milliseconds.
 */
export function launch(patience, downloads) {
  const own = downloads ? { ...ALLOWED, "browser.download.folderList": 2,
    "browser.download.dir": downloads, "browser.download.alwaysOpenPanel": false } : REFUSED;
  return puppeteer.launch({
    browser: "firefox",
    executablePath: process.env.FIREFOX || "/usr/bin/firefox-esr",
    headless: true,
    acceptInsecureCerts: true,
    protocolTimeout: patience,
    defaultViewport: { width: 1280, height: 800 },
    extraPrefsFirefox: { ...PREFERENCES, ...own },
  });
}

/** Opens a page that keeps what it says and of which `complaints` are noted. */
export async function openPage(browser, patience, complaints) {
  const page = await browser.newPage();
  page.setDefaultTimeout(patience);
  await page.evaluateOnNewDocument(keepPeers);
  await page.evaluateOnNewDocument(keepSaid);
  const note = (text) => NOISE.test(text) || complaints.push(text);
  page.on("pageerror", (error) => note(error.message));
  page.on("console", (message) => {
    if (["error", "warn", "assert"].includes(message.type())) note(message.text());
  });
  return page;
}

/** Somebody at a page of Firefox. */
export class FirefoxVisitor {
  page;
  #page;
  #downloads;
  #routes = [];

  constructor(page, downloads) {
    this.#page = page;
    this.#downloads = downloads;
    this.page = asPlaywright(page);
  }

  /** Shows the bar, and presses a button of it. */
  async press(name) {
    await this.page.mouse.move(300, 300);
    await this.page.mouse.move(320, 320);
    await this.click(name);
  }

  /**
   * Clicks on the button called `name`, within what `selector` selects, as soon as it is to be seen
   * and holds still.
   */
  async click(name, selector = "body") {
    const at = await this.page.waitForFunction(placeOfButton, { name, selector });
    const { x, y } = await at.jsonValue();
    await this.page.mouse.click(x, y);
  }

  count(name) {
    return this.page.evaluate(countOfButtons, name);
  }

  /** Waits until the page shows a text, or one that an expression matches. */
  sees(text) {
    const wanted = text instanceof RegExp ? { source: text.source } : { text };
    return this.page.waitForFunction(shows, wanted);
  }

  // It says nothing of answers that are no success.
  allow() {}

  // Looks do not depend on the browser; Chromium's are looked at.
  async look() {}

  /** Puts a finger on each of `places`, one after the other. */
  async touch(places) {
    const fingers = [];
    for (const { x, y } of places) fingers.push(await this.#page.touchscreen.touchStart(x, y));
    return {
      moveBy: async (dy) => {
        for (const [n, { x, y }] of places.entries()) await fingers[n].move(x, y + dy);
      },
      lift: async () => {
        for (const finger of fingers) await finger.end();
      },
    };
  }

  /** Does `work`, and returns what the browser saves then; it tells nobody of it. */
  async saves(work) {
    await work();
    for (let tries = 0; tries < SAVING_TRIES; tries += 1) {
      const [name, another] = readdirSync(this.#downloads);
      // What is not whole yet has a second file, or is that.
      const whole = name && !another && !name.endsWith(".part");
      const bytes = whole ? readFileSync(path.join(this.#downloads, name)) : "";
      if (bytes.length) return { name, bytes };
      await setTimeout(50);
    }
    throw new Error("nothing was saved");
  }

  /**
   * Answers requests for addresses with `part` in them with what `answer()` returns: `abort`, a
   * status, or nothing for the gateway's own answer. Ends when the returned function is called.
   */
  intercept(part, answer) {
    return this.#route((route) => {
      const outcome = route.request().url().includes(part) ? answer() : undefined;
      if (outcome === "abort") return route.abort();
      if (!outcome) return route.fallback();
      return route.fulfill({ status: outcome, contentType: "application/json", body: '{"type":"error"}' });
    });
  }

  /** Has the files of the page come from `serve`, which Playwright would be given as a route. */
  serve(serve) {
    return this.#route(serve);
  }

  async #route(handle) {
    this.#routes.push(handle);
    if (this.#routes.length === 1) {
      this.#page.on("request", this.#answer);
      await this.#page.setRequestInterception(true);
    }
    return async () => {
      this.#routes = this.#routes.filter((one) => one !== handle);
      if (this.#routes.length) return;
      await this.#page.setRequestInterception(false);
      this.#page.off("request", this.#answer);
    };
  }

  #answer = (request) => {
    const rest = [...this.#routes];
    const next = () => {
      const handle = rest.pop();
      if (!handle) return request.continue();
      return handle({ request: () => request, abort: () => request.abort(), fallback: next,
        fulfill: (answer) => request.respond({ status: 200, ...answer }) });
    };
    return next();
  };
}

/** `page` with the calls of Playwright's that differ. */
function asPlaywright(page) {
  const { mouse, keyboard } = page;
  return {
    goto: (address, options) => page.goto(address, options),
    evaluate: (work, parameter) => page.evaluate(work, parameter),
    waitForFunction: (work, parameter) => page.waitForFunction(work, {}, parameter),
    setViewportSize: (size) => page.setViewport(size),
    mouse: {
      move: (x, y) => mouse.move(x, y),
      click: async (x, y, options) => {
        // What follows at the place of the mouse needs to know it.
        await mouse.move(x, y);
        await mouse.click(x, y, options);
      },
      wheel: (deltaX, deltaY) => mouse.wheel({ deltaX, deltaY }),
    },
    keyboard: {
      down: (key) => keyboard.down(key),
      up: (key) => keyboard.up(key),
      type: (text) => keyboard.type(text),
      press: async (keys) => {
        const [last, ...held] = keys.split("+").reverse();
        for (const key of held.reverse()) await keyboard.down(key);
        // A key writes here what it is called, whatever is held.
        await keyboard.press(held.includes("Shift") ? last.replace("Key", "") : last);
        for (const key of held.reverse()) await keyboard.up(key);
      },
    },
  };
}

/** In the page: where a button called `name` is, once it is there and nothing lies over it. */
function placeOfButton({ name, selector }) {
  const called = (one) => one.getAttribute("aria-label") ?? one.textContent.trim();
  for (const button of document.querySelectorAll(`${selector} button`)) {
    if (called(button) !== name || !button.checkVisibility()) continue;
    const { left, top, width, height } = button.getBoundingClientRect();
    const place = { x: left + width / 2, y: top + height / 2 };
    const still = window.lastPlace?.name === name && window.lastPlace.y === place.y;
    window.lastPlace = { name, y: place.y };
    if (still && button.contains(document.elementFromPoint(place.x, place.y))) return place;
  }
  return undefined;
}

/** In the page. */
function countOfButtons(name) {
  const called = (one) => one.getAttribute("aria-label") ?? one.textContent.trim();
  return [...document.querySelectorAll("button")]
    .filter((button) => called(button) === name && button.checkVisibility()).length;
}

/** In the page: whether it shows a text. */
function shows({ text, source }) {
  const matches = (content) => (source ? new RegExp(source).test(content) : content.includes(text));
  return [...document.body.querySelectorAll("*")].some((element) =>
    matches(element.textContent.replace(/\s+/g, " ").trim()) && element.checkVisibility());
}
