// States that are easily forgotten: a gateway that is away, a page that nobody looks at, long names, a
// token that may only read or that has ended.

import { createConnection } from "node:net";

import { addEvents, cutEvents } from "../events.mjs";
import { allow } from "../page.mjs";
import {
  SIZES, STREAM_GATEWAY_SOCKET, STREAM_OPERATOR_TOKEN, elsewhere, enter, equal, expectAnswers, gateway,
  go, instead, look, looks, madeUp, narrowed, page, role, rows, sees, sessionsAre, truth,
} from "./page.mjs";

export async function away() {
  await go("#/sessions");
  await sessionsAre(() => madeUp(12));
  await rows().first().waitFor();
  allow(/net::ERR_FAILED .*\/1\.0\//);
  // It is stale soon: not all pictures can be taken before.
  for (const size of ["phone", "wide"]) {
    instead.clear();
    await page.locator('console-live[data-state="live"]').waitFor();
    instead.set("/1.0/", (route) => route.abort());
    await cutEvents(page);
    await sees("reconnecting in");
    await look("reconnecting", { sizes: [size] });
  }
  await page.locator('console-live[data-state="stale"]').waitFor();
  await look("stale");
  equal(await rows().count(), 12);
  instead.clear();
  await page.locator('console-live[data-state="live"]').waitFor();
}

export async function hidden() {
  await go("#/sessions");
  const streams = (count) => page.waitForFunction((count) => window.openStreams() === count, count);
  await streams(1);
  const hide = (yes) => page.evaluate((yes) => {
    // As if half a minute had passed.
    const { setTimeout } = window;
    window.setTimeout = (act, after, ...rest) => setTimeout(act, after === 30_000 ? 0 : after, ...rest);
    Object.defineProperty(document, "hidden", { value: yes, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
    window.setTimeout = setTimeout;
  }, yes);
  await hide(true);
  await streams(0);
  await page.locator('console-live[data-state="reconnecting"]').waitFor();
  await hide(false);
  await streams(1);
  await page.locator('console-live[data-state="live"]').waitFor();
}

export async function narrow() {
  await sessionsAre(() => madeUp(40));
  await rows().first().waitFor();
  // What is left of 1280 by 800 at twice the size.
  await page.setViewportSize({ width: 640, height: 400 });
  await looks.check(page, "twice the size");
  await looks.picture(page, "twice");
  await page.setViewportSize(SIZES.wide);
  await truth();
}

export async function odd() {
  const long = "a-name-that-is-as-long-as-names-may-be-and-then-some-more-letters";
  await sessionsAre(() => madeUp(8, (n) => [
    { app: long, status_message: `${long} ${long}` }, { app: "ساعة", status_message: "التطبيق يعمل" },
    { app: "שעון", region: "אזור" }][n % 3]));
  await page.getByText(long).first().waitFor();
  await look("sessions-odd");
  await page.getByLabel("Language").selectOption("de");
  await role("heading", "Sitzungen").waitFor();
  await look("sessions-german");
  await page.getByLabel("Sprache").selectOption("en");
  await role("heading", "Sessions").waitFor();
  await truth();
}

export async function readOnly() {
  const may = "allow session.read application.read region.read share.read";
  const token = await narrowed(STREAM_OPERATOR_TOKEN, [may]);
  await role("button", "Sign out").click();
  let count = 3;
  await sessionsAre(() => madeUp(count));
  await enter(token);
  await rows().nth(2).waitFor();
  // It is told no events, and asks.
  equal(await page.evaluate(() => window.openStreams()), 0);
  count = 4;
  await rows().nth(3).waitFor();
  const { length } = await page.$$("main input[type=checkbox], main button.primary, main a.primary");
  equal(length, 0);
  equal(await page.locator(".sidebar nav a").evaluateAll((links) => links.length), 3);
  await page.keyboard.press("n");
  await page.keyboard.press(" ");
  await look("sessions-read-only");
  equal(await page.locator("aside:not([hidden])").count(), 0);
  instead.clear();
}

export async function out() {
  expectAnswers(401, "/1.0/");
  instead.set("/1.0/", (route) => route.fulfill({ status: 401, json: { type: "error" } }));
  await cutEvents(page);
  await page.getByRole("status").getByText("did not take the token").waitFor();
  instead.clear();
  await look("signed-out");
  const kept = await page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }]));
  if (kept.includes("AgE")) throw new Error("the token is still there");
}

/** The operator at the gateway's machine gives the account another token: the former one ends. */
export async function revoked() {
  await elsewhere({ viewport: SIZES.wide }, async () => {
    await page.goto(`${gateway}/console`);
    await enter(STREAM_OPERATOR_TOKEN, true);
    await role("link", "Accounts").waitFor();
    const name = await page.locator(".who").textContent();
    expectAnswers(401, "/1.0/");
    const { refused } = await order({ op: "account.rotate", name, overlap_s: 0 });
    if (refused) throw new Error(refused.message);
    await page.getByRole("status").getByText("did not take the token").waitFor();
    await page.reload();
    await page.getByLabel("Access token of an account").waitFor();
  });
}

/** Tells the gateway something by the socket of its operators; returns what it answers. */
function order(request) {
  return new Promise((done, failed) => {
    const socket = createConnection(STREAM_GATEWAY_SOCKET).setEncoding("utf8").on("error", failed);
    let said = "";
    socket.on("data", (text) => (said += text)).on("end", () => done(JSON.parse(said)));
    socket.write(`${JSON.stringify({ v: 1, ...request })}\n`);
  });
}

/** A row fades in and a cell is underlined, but not for whoever wants no motion. */
export async function moved() {
  const all = madeUp(3);
  await sessionsAre(() => all);
  await rows().nth(2).waitFor();
  const moving = () => page.evaluate(() => document.getAnimations()
    .filter(({ playState }) => playState === "running").map(({ animationName }) => animationName));
  for (const [reducedMotion, wanted] of [["no-preference", ["change", "come"]], ["reduce", []]]) {
    await page.emulateMedia({ reducedMotion });
    await page.waitForFunction(() =>
      document.getAnimations().every(({ playState }) => playState !== "running"));
    const [one] = all;
    one.status_message = `as ${reducedMotion} would have it`;
    const [other] = madeUp(1, () => ({ id: `z${reducedMotion}`.padEnd(20, "0") }));
    await addEvents(page, [["session", one], ["session", other]]);
    await sees(one.status_message);
    equal((await moving()).sort(), wanted);
  }
  await page.emulateMedia({ reducedMotion: "no-preference" });
  await truth();
}
