// Chromium as the scripts of the player use it.

import { readFileSync } from "node:fs";

import { allow } from "./page.mjs";

/** Somebody at a page of Chromium, whose looks are looked at. */
export class ChromiumVisitor {
  page;
  #looks;

  constructor(page, looks) {
    this.page = page;
    this.#looks = looks;
  }

  /** Shows the bar, and presses a button of it. */
  async press(name) {
    await this.page.mouse.move(300, 300);
    await this.page.mouse.move(320, 320);
    await this.click(name);
  }

  /** Clicks on the button called `name`, within what `selector` selects. */
  click(name, selector = "body") {
    return this.page.locator(selector).getByRole("button", { name, exact: true }).click();
  }

  count(name) {
    return this.page.getByRole("button", { name, exact: true }).count();
  }

  /** Waits until the page shows a text, or one that an expression matches. */
  sees(text) {
    return this.page.getByText(text).first().waitFor();
  }

  /** Lets up to `times` complaints of the browser pass that `pattern` matches. */
  allow(pattern, times) {
    allow(pattern, times);
  }

  look(name, options) {
    return this.#looks.at(this.page, name, options);
  }

  /** Puts a finger on each of `places`, one after the other. */
  async touch(places) {
    const cdp = await this.page.context().newCDPSession(this.page);
    await cdp.send("Emulation.setTouchEmulationEnabled", { enabled: true, maxTouchPoints: 10 });
    const points = (count, dy = 0) => places.slice(0, count).map(({ x, y }, id) => ({ x, y: y + dy, id }));
    const dispatch = (type, touchPoints) => cdp.send("Input.dispatchTouchEvent", { type, touchPoints });
    for (let count = 1; count <= places.length; count += 1) await dispatch("touchStart", points(count));
    return {
      moveBy: (dy) => dispatch("touchMove", points(places.length, dy)),
      lift: async () => {
        await dispatch("touchEnd", []);
        await cdp.send("Emulation.setTouchEmulationEnabled", { enabled: false });
      },
    };
  }

  async saves(work) {
    const [download] = await Promise.all([this.page.waitForEvent("download"), work()]);
    return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
  }

  /**
   * Answers requests for addresses with `part` in them with what `answer()` returns: `abort`, a
   * status, or nothing for the gateway's own answer. Ends when the returned function is called.
   */
  async intercept(part, answer) {
    const concerned = ({ href }) => href.includes(part);
    await this.page.route(concerned, (route) => {
      const outcome = answer();
      if (outcome === "abort") return route.abort();
      return outcome ? route.fulfill({ status: outcome, json: { type: "error" } }) : route.fallback();
    });
    return () => this.page.unroute(concerned);
  }
}
