// The console on a phone, by touch alone.

import { changes } from "../page.mjs";
import { saidBy } from "../player_page.mjs";
import {
  SIZES, STREAM_OPERATOR_TOKEN, elsewhere, equal, gateway, page, role, rows, sees,
} from "./page.mjs";

// Points and pixels of what a finger hits, and the words on it.
const LEAST = 44;

export async function touch() {
  const phone = { viewport: SIZES.phone, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };
  await elsewhere(phone, async () => {
    await page.goto(`${gateway}/console`);
    await page.getByLabel("Access token of an account").fill(STREAM_OPERATOR_TOKEN);
    await role("button", "Sign in").tap();
    await sees("There is no session yet.");
    await isBigEnough();
    const tops = await page.locator(".chip").evaluateAll((chips) => chips.map(({ offsetTop }) => offsetTop));
    equal([tops.length >= 5, new Set(tops).size], [true, 1]);
    await page.getByRole("link", { name: "New session", exact: true }).tap();
    await role("heading", "New session").waitFor();
    await page.waitForFunction(() => document.querySelector('[name="app"]').options.length);
    await isBigEnough();
    await role("button", "Create session").tap();
    await rows().first().waitFor();
    // What is told hides no row, nor what is above them.
    equal(await page.evaluate(() => {
      const [told, field] = [".notice", ".filter"].map((one) =>
        document.querySelector(one).getBoundingClientRect());
      return [told.height > 0, told.bottom <= field.top];
    }), [true, true]);
    await page.locator('tr[data-status="active"]').waitFor();
    await rows().first().locator("a").tap();
    await role("button", "Take control").tap();
    await sees("You control the session.");
    await page.waitForFunction(changes);
    const said = await saidBy(page, () => page.locator("stream-player .surface").tap());
    equal(said.map(({ type }) => type), ["input::touch-start", "input::touch-end"]);
    await role("button", "Show the buttons").tap();
    await isBigEnough();
    await role("button", "Leave").tap();
    await role("button", "End session").tap();
    await page.getByRole("dialog").getByRole("button", { name: "End session", exact: true }).tap();
    await sees("No picture: the session has ended.");
    await page.getByRole("link", { name: "Sessions", exact: true }).last().tap();
    await sees("There is no session yet.");
    await page.getByRole("link", { name: "More", exact: true }).tap();
    await page.getByRole("link", { name: "Figures", exact: true }).last().tap();
    await sees("Requests under way");
    await page.getByRole("link", { name: "More", exact: true }).tap();
    await page.locator(".more").getByRole("button", { name: "Sign out", exact: true }).tap();
    await page.getByLabel("Access token of an account").waitFor();
  });
}

/** Everything in sight that can be tapped is as big as a finger is, in one direction at the least. */
async function isBigEnough() {
  const small = await page.evaluate((least) => {
    const targets = [...document.querySelectorAll("a, button, select, input, summary")];
    return targets.map((one) => one.closest("label.tick, label.check") ?? one)
      .filter((one) => one.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
      .map((one) => [one.textContent.trim() || one.ariaLabel, one.getBoundingClientRect()])
      .filter(([, { width, height, bottom }]) => width && bottom > 0 && (width < 24 || height < least))
      .map(([name, { width, height }]) => `${name}: ${width} by ${height}`);
  }, LEAST);
  equal(small, []);
}
