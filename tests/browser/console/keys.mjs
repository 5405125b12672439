// The whole way by keys alone: no pointer, and nothing that a script puts the focus on.

import { changes } from "../page.mjs";
import { saidBy, seenIn } from "../player_page.mjs";
import { readsClipboard } from "./clipboard.mjs";
import {
  STREAM_OPERATOR_TOKEN, app, equal, gateway, go, look, page, role, rows, sees,
} from "./page.mjs";

const MOST_TABS = 60;

const press = (key) => page.keyboard.press(key);

/** Goes on with Tab until the focus is on what `selector` names, and what `words` are on if any. */
async function tabTo(selector, words = "") {
  for (let tabs = 0; tabs < MOST_TABS; tabs += 1) {
    await press("Tab");
    const there = await page.evaluate(([selector, words]) => {
      const { activeElement: at } = document;
      return at.matches(selector) && (!words || [at.textContent.trim(), at.ariaLabel].includes(words));
    }, [selector, words]);
    if (there) return;
  }
  throw new Error(`no way to ${selector} ${words}`);
}

/** Waits until the focus is on what `selector` names. */
async function focus(selector) {
  await page.waitForFunction((selector) => document.activeElement.matches(selector), selector);
}

function focusedRow() {
  return page.evaluate(() => document.activeElement.closest("tr")?.dataset.id);
}

async function createByKeys() {
  await press("n");
  await focus('[name="app"]');
  await page.waitForFunction(() => document.activeElement.options.length);
  await page.keyboard.type(app.slice(0, 3));
  await tabTo("[type=submit]", "Create session");
  await press("Enter");
  await focus("tr[data-id] a");
}

export async function keys() {
  await signInByKeys();
  await createByKeys();
  await playByKeys();
  await shareByKeys();
  await endByKeys();
  await manyByKeys();
  await signOutByKeys();
}

async function signInByKeys() {
  await page.evaluate(() => sessionStorage.clear());
  await page.goto("about:blank");
  await page.goto(`${gateway}/console`);
  await focus('[name="token"]');
  await page.keyboard.type(STREAM_OPERATOR_TOKEN);
  await tabTo('[name="keep"]');
  await press("Space");
  await tabTo("button", "Sign in");
  await press("Enter");
  await sees("There is no session yet.");
}

async function playByKeys() {
  await page.locator('tr[data-status="active"]').waitFor();
  await press("Enter");
  await page.locator("console-session .session").waitFor();
  await tabTo("button", "Take control");
  await press("Enter");
  await sees("You control the session.");
  await page.evaluate(() => delete window.firstDigest);
  await page.waitForFunction(changes);
  // Enter on the picture gives the application the keyboard.
  await focus("stream-player .surface");
  await press("Enter");
  await page.locator("stream-player.captured").waitFor();
  await look("session-captured");
  const said = await saidBy(page, () => seenIn(page, "text", () => page.keyboard.type("hello")));
  equal(said.filter(({ data }) => data.pressed).map(({ data }) => data.code), [11, 8, 15, 15, 18]);
  await press("Escape");
  await press("Escape");
  await page.locator("stream-player:not(.captured)").waitFor();
  await focus("stream-player .surface");
  equal(await saidBy(page, () => press("x")), []);
  await tabTo("stream-player button", "Back");
  const back = await saidBy(page, () => press("Enter"));
  equal(back.map(({ data }) => data.code), [92, 92]);
  await tabTo("stream-player button", "Leave");
  await press("Enter");
  await focus(".offer button");
}

async function shareByKeys() {
  await tabTo('[name="type"]');
  await press("ArrowRight");
  await tabTo('[name="description"]');
  await page.keyboard.type("by keys");
  await tabTo("[type=submit]", "Make and copy link");
  const link = await readsClipboard(() => press("Enter"), "The link was made and copied.");
  if (!/^https:.*#.*share=/.test(link)) throw new Error(`no link: ${link.slice(0, 30)}`);
  await page.locator("console-shares li", { hasText: "may watch" }).getByText("by keys").waitFor();
}

async function endByKeys() {
  await tabTo("button", "End session");
  await press("Enter");
  await page.getByRole("dialog").waitFor();
  await focus("dialog h2");
  await tabTo("dialog button", "End session");
  await press("Enter");
  await sees("No picture: the session has ended.");
  await press("Escape");
  await sees("There is no session yet.");
}

/** Rows, a selection, and the end of many. */
async function manyByKeys() {
  for (let count = 0; count < 2; count += 1) await createByKeys();
  const second = await focusedRow();
  await press("j");
  const first = await focusedRow();
  if (!first || first === second) throw new Error("j does not move");
  await press("k");
  equal(await focusedRow(), second);
  await press("?");
  await role("heading", "Keyboard").waitFor();
  await look("keyboard");
  await press("Escape");
  equal(await focusedRow(), second);
  await press("Enter");
  await page.locator("console-session .session").waitFor();
  await press("Escape");
  await rows().first().waitFor();
  equal(await focusedRow(), second);
  await press(" ");
  await press("j");
  await press(" ");
  await role("button", "End 2 sessions").waitFor();
  await look("sessions-selected");
  await tabTo("button", "End 2 sessions");
  await press("Enter");
  await page.getByRole("dialog").waitFor();
  await press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await press("Enter");
  await tabTo("dialog button", "End 2 sessions");
  await press("Enter");
  await sees("There is no session yet.");
}

async function signOutByKeys() {
  await tabTo("button", "Sign out");
  await press("Enter");
  await focus('[name="token"]');
  equal(await page.evaluate(() => sessionStorage.length), 0);
  // The steps behind this one are an operator's.
  await page.keyboard.type(STREAM_OPERATOR_TOKEN);
  await tabTo('[name="keep"]');
  await press("Space");
  await press("Enter");
  await role("link", "Accounts").waitFor();
  await go("#/sessions");
}
