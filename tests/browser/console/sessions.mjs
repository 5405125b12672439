// The list of sessions: signing in, making sessions, finding them and ending them.

import { answerAfter } from "../stun.mjs";
import { copies, readsClipboard } from "./clipboard.mjs";
import {
  STREAM_OPERATOR_TOKEN, STREAM_TOKEN, SIZES, answered, app, enter, equal, expectAnswers, go, instead,
  look, madeUp, page, role, rows, sees, sessionsAre, truth, visit,
} from "./page.mjs";

// What a person does not see move (Layout Instability, of a window's height and width).
const MOST_SHIFT = 0.005;

export async function signIn() {
  await page.setViewportSize(SIZES.wide);
  await visit();
  await look("sign-in");
  expectAnswers(401, "/1.0/sessions", 1);
  await enter("AgEnonsense");
  await page.getByRole("alert").getByText("did not take the token").waitFor();
  await enter(STREAM_TOKEN);
  await role("heading", "Sessions").waitFor();
  for (const view of ["Agents", "Relays", "Accounts", "Configuration"]) {
    equal(await role("link", view).count(), 0);
  }
  await go("#/settings");
  await role("heading", "Sessions").waitFor();
  await go("#/sessions");
  await role("button", "Sign out").click();
  await staysPut(async () => {
    await enter(STREAM_OPERATOR_TOKEN, true);
    await role("link", "Accounts").waitFor();
    await sees("There is no session yet.");
    await sees(/\d+ of \d+ places used/);
  });
  // It was asked to keep the token.
  await page.reload();
  await role("link", "Accounts").waitFor();
  equal(await page.evaluate(() => location.href.includes("Ag")), false);
}

/** Does `work`, during which nothing that is in sight moves, nor for a second after it. */
async function staysPut(work) {
  await page.evaluate(() => (window.shifts.length = 0));
  await work();
  const shifts = await page.evaluate(() => new Promise((done) => {
    const told = () => window.shifts.map(({ value, sources }) =>
      ({ value, what: sources.map(({ node }) => node?.className ?? node?.nodeName) }));
    requestAnimationFrame(() => setTimeout(() => done(told()), 1_000));
  }));
  const sum = shifts.reduce((sum, { value }) => sum + value, 0);
  if (sum > MOST_SHIFT) throw new Error(`it moves by ${sum}: ${JSON.stringify(shifts)}`);
}

export async function empty() {
  await go("#/sessions");
  await sees("There is no session yet.");
  await look("sessions-empty");
}

export async function create() {
  await page.keyboard.press("n");
  await role("heading", "New session").waitFor();
  await page.getByLabel("Application").selectOption(app);
  const region = page.locator('select[name="region"] option');
  await region.getByText(/^cloud-0, [0-9.]+ ms away$/).waitFor({ state: "attached" });
  await page.getByLabel("Size").selectOption("720x1280");
  await page.getByText("More", { exact: true }).last().click();
  const extra = page.getByLabel("Data for the instance, as JSON");
  await extra.fill('{"a": ');
  await sees("This is no complete JSON");
  // In the words of the page, whatever those of the browser are.
  await extra.fill('{\n "a" 1}');
  await sees(/^This is no JSON from line 2, character 6 on\.$/);
  await role("button", "Create session").click();
  equal(await rows().count(), 0);
  await extra.fill('{"a": 1}');
  await look("new-session");
  await copies(() => role("button", "Copy as curl").click(), (text) => {
    if (!/^curl -X POST 'https:[^]*"width":720[^]*"extra_data":\{"a":1\}/.test(text)) throw new Error(text);
    if (text.includes("AgE")) throw new Error("the token is in the command");
  }, "copy-by-hand");
  await role("button", "Create session").click();
  await rows().first().waitFor();
  // The focus is on it: Enter opens it.
  await page.waitForFunction(() => document.activeElement.closest("tr[data-id]"));
  await page.locator('tr[data-status="active"]').waitFor();
  await sees("active");
  await look("sessions-one");
}

export async function filter() {
  await page.keyboard.press("/");
  await page.keyboard.type("no such thing");
  await sees("No session matches the filter.");
  equal(await page.evaluate(() => location.hash), "#/sessions?q=no+such+thing");
  await role("button", "Show all sessions").click();
  await rows().first().waitFor();
  await page.getByRole("link", { name: /^error/ }).click();
  await sees("No session matches the filter.");
  await page.goBack();
  await rows().first().waitFor();
  await sorts();
}

/** Sorts several rows by each column. */
async function sorts() {
  const all = madeUp(12, (n) => ({ agent: `agent-${(n * 5) % 12}`, client: n % 2 === 0 }));
  await sessionsAre(() => all);
  await rows().nth(11).waitFor();
  // The one that is gone by that stays for a while.
  const shown = () => page.locator("tr[data-id]:not(.gone)").evaluateAll((rows) =>
    rows.map(({ dataset }) => dataset.id));
  const newestFirst = all.map(({ id }) => id).reverse();
  equal(await shown(), newestFirst);
  const order = ["error", "created", "active"];
  const columns = { Status: (row) => order.indexOf(row.status), Application: (row) => row.app,
    Region: (row) => row.region, Age: (row) => -row.created_at, Agent: (row) => row.agent,
    "Last change": (row) => row.status_message };
  for (const [name, key] of Object.entries(columns)) {
    const keyed = new Map(all.map((row) => [row.id, key(row)]));
    const up = [...keyed.values()].sort((one, other) => (one < other ? -1 : one > other ? 1 : 0));
    for (const [way, wanted] of [["ascending", up], ["descending", up.toReversed()]]) {
      await page.getByRole("columnheader").getByRole("button", { name, exact: true }).click();
      await page.locator(`th[aria-sort="${way}"]`, { hasText: name }).waitFor();
      equal((await shown()).map((id) => keyed.get(id)), wanted);
    }
    await page.getByRole("columnheader").getByRole("button", { name, exact: true }).click();
    equal(await page.locator("th[aria-sort]").count(), 0);
    equal(await shown(), newestFirst);
  }
  await truth();
  await page.waitForFunction(() => document.querySelectorAll("tr[data-id]:not(.gone)").length === 1);
}

export async function end() {
  await go("#/sessions");
  await rows().first().locator("input").check();
  await role("button", "End 1 session").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText(`${app} (`).waitFor();
  await look("ending");
  // It has no default.
  await page.keyboard.press("Enter");
  await page.waitForTimeout(200);
  await dialog.waitFor();
  await dialog.getByRole("button", { name: "End 1 session" }).click();
  await sees("The session ends.");
  await page.locator('tr[data-status="terminated"]').waitFor();
  await sees("There is no session yet.");
  await page.getByRole("link", { name: "ended" }).click();
  await page.locator('tr[data-status="terminated"]').first().waitFor();
  await look("sessions-ended");
  await rows().first().locator("a").click();
  await sees("No picture: the session has ended.");
  await look("session-ended");
  await failed();
  expectAnswers(404, "/1.0/sessions/a{20}");
  await go("#/sessions/aaaaaaaaaaaaaaaaaaaa");
  await sees("it is over, or never was");
  await look("session-gone");
}

async function failed() {
  const [session] = madeUp(1, () => ({ status: "error",
    status_message: "the instance failed: image jammy:android15 is missing at AMS" }));
  instead.set("/timeline", (route) => route.fulfill(answered({ entries: [] })));
  instead.set(`/1.0/sessions/${session.id}`, (route) => route.fulfill(answered(session)));
  await go(`#/sessions/${session.id}`);
  await sees("No picture: the session has failed.");
  await look("session-failed");
  instead.clear();
}

/** Fills in all there is; of two regions the nearer one is chosen. */
export async function fields() {
  const [far, near] = await Promise.all([150, 0].map(answerAfter));
  const regions = [{ name: "far", stun_servers: [far.url] }, { name: "near", stun_servers: [near.url] }];
  instead.set("/1.0/regions", (route) => route.fulfill(answered(regions)));
  await go("#/sessions?new=1");
  const region = page.getByLabel("Region");
  const measured = region.locator("option", { hasText: /^far, 1\d\d(\.\d)? ms away$/ });
  await measured.waitFor({ state: "attached" });
  await page.waitForFunction(() => document.querySelector('select[name="region"]').value === "near");
  instead.clear();
  [far, near].forEach((server) => server.close());
  // The one that there is.
  await go("#/sessions");
  await go("#/sessions?new=1");
  await region.locator("option", { hasText: "cloud-0" }).waitFor({ state: "attached" });
  await region.selectOption("cloud-0");
  await page.getByLabel("Size").selectOption("Own size");
  await page.getByLabel("Width").fill("600");
  await page.getByLabel("Height").fill("800");
  await page.locator(".screen-picture").getByText("600 × 800").waitFor();
  await page.getByLabel("Frames per second").fill("30");
  await page.getByLabel("Density").fill("160");
  await page.getByText("More", { exact: true }).last().click();
  await page.getByLabel("Version").fill("1");
  await page.getByLabel("Others may join").uncheck();
  await page.getByLabel("Ends without a client after, in minutes").fill("7");
  const asked = page.waitForRequest((request) => request.method() === "POST");
  await role("button", "Create session").click();
  equal((await asked).postDataJSON(), { app, app_version: 1, region: "cloud-0",
    screen: { width: 600, height: 800, fps: 30, density: 160 }, joinable: false, idle_time_min: 7 });
  await page.waitForFunction(() => document.activeElement.closest("tr[data-id]"));
  await page.keyboard.press("Enter");
  await page.locator("console-session dd", { hasText: "no, it ends with its first client" }).waitFor();
  await readsDocument();
  await role("button", "End session").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("Whoever watches is cut off.").waitFor();
  await dialog.getByRole("button", { name: "Leave as it is" }).click();
  await dialog.waitFor({ state: "hidden" });
  await role("button", "End session").click();
  await dialog.getByRole("button", { name: "End session" }).click();
  await sees("No picture: the session has ended.");
  equal(await role("button", "End session").count(), 0);
}

async function readsDocument() {
  const id = await page.evaluate(() => location.hash.split("/").at(-1));
  await page.getByText("Document", { exact: true }).click();
  const copy = () => role("button", "Copy document").click();
  const text = await readsClipboard(copy, "The document was copied.");
  const told = JSON.parse(text);
  equal([told.id, told.app, told.joinable], [id, app, false]);
}
