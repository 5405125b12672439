// Does in the console, in a real browser, what operators do: signs in, creates a session, sees it
// become active, filters, opens, shares and ends it, drains an agent and takes that back; by pointer
// and by keys alone. Looks at every view with axe, in both colour schemes and two sizes.
//
//   node console.mjs <address of the gateway> <application>
//
// STREAM_TOKEN is the token of an account and STREAM_OPERATOR_TOKEN that of an operator's. Where
// STREAM_PICTURES is a path, pictures of every view are written there, their names in place of its `%`.
// STREAM_UI names a folder that the page is read from instead of the gateway, while somebody works on
// it, and STREAM_ONLY the steps to be done.
//
// Prints an object of figures; when a step fails it says which on stderr and exits with 1.

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";

import axe from "axe-core";

import { changes, openPage, redact } from "./page.mjs";

const DEADLINE_MS = 30_000;
const MANY = 10_000;
const MOST_ROWS = 100;
const MOST_WEIGHT = 60 * 1024;
const SLOW_MS = 500;

const [gateway, app] = process.argv.slice(2);
const { STREAM_TOKEN, STREAM_OPERATOR_TOKEN, STREAM_PICTURES, STREAM_UI, STREAM_ONLY } = process.env;
const SIZES = { wide: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

const ALL = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
// Nothing else differs in the dark.
const CONTRAST = { type: "rule", values: ["color-contrast"] };

let current = "start the browser";
const complaints = [];
const findings = [];
const figures = { views: 0, pictures: 0 };
let page;
// What the gateway is said to answer instead of what it does, by the part of the address.
const instead = new Map();

try {
  // A page that does not come from the gateway's address may not open a socket there otherwise.
  const own = STREAM_UI ? ["--disable-features=LocalNetworkAccessChecks"] : [];
  page = await openPage(DEADLINE_MS, ["--lang=en-US", ...own]);
  await page.context().route("**/*", answer);
  listen();
  const begun = Date.now();
  for (const [name, work] of Object.entries(steps())) {
    if (STREAM_ONLY && !STREAM_ONLY.split(",").includes(name.split(":")[0])) continue;
    current = name.split(": ")[1];
    await work();
  }
  current = "find no error on the page";
  equal(complaints.join("; "), "");
  equal(findings.join("; "), "");
  console.log(JSON.stringify({ ok: true, ...figures, ms: Date.now() - begun }));
} catch (error) {
  const told = [error.message, ...complaints, ...findings].join(" | ");
  console.error(`could not ${current}: ${redact(told).replace(/token=[^&\s]*/g, "token=[redacted]")}`);
  if (page) await picture("failed");
  process.exitCode = 1;
} finally {
  await page?.context().browser().close();
}
process.exit();

function steps() {
  return {
    "texts: say everything in both languages": sayAll,
    "in: sign in": signIn,
    "empty: begin without a session": empty,
    "create: create a session": create,
    "filter: filter and sort": filter,
    "open: open the session and see its picture": open,
    "share: share it": share,
    "end: end it": end,
    "many: hold 10,000 sessions": many,
    "agents: drain an agent and take that back": agents,
    "accounts: read the accounts": accounts,
    "settings: change the configuration": settings,
    "keys: do it by keys alone": keys,
    "away: get over a gateway that is away": away,
    "narrow: fit twice the size": narrow,
    "odd: show long names and those from right to left": odd,
    "read: offer no more than a token allows": readOnly,
    "out: be signed out": out,
  };
}

// What it stands on

async function answer(route) {
  const url = new URL(route.request().url());
  for (const [part, reply] of instead) {
    if (url.pathname.includes(part)) return reply(route, url);
  }
  const name = url.pathname === "/console" ? "console.html" : url.pathname.slice(1);
  const file = STREAM_UI && path.join(STREAM_UI, name);
  if (!file || name === "" || !existsSync(file)) return route.continue();
  const type = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
  const headers = { "content-type": `${type[path.extname(file)]}; charset=utf-8`,
    "content-security-policy": policy() };
  return route.fulfill({ body: readFileSync(file), headers });
}

/** That of the gateway. */
function policy() {
  const source = readFileSync(path.join(STREAM_UI, "../src/content_policy.rs"), "utf8");
  return source.match(/POLICY: &str = "([^"]*)"/)[1].replace(/\\\s+/g, "");
}

function listen() {
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    const text = message.text();
    // The browser itself notes every answer that is no success.
    const ours = !text.startsWith("Failed to load resource");
    if (ours && ["error", "warning"].includes(message.type())) complaints.push(text);
  });
}

function equal(found, wanted) {
  if (found !== wanted) throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(wanted)}`);
}

function role(kind, name) {
  return page.getByRole(kind, { name, exact: true });
}

/** Waits until the page shows `text`. */
async function sees(text) {
  await page.getByText(text).first().waitFor();
}

function rows() {
  return page.locator("console-sessions tbody tr[data-id]");
}

async function go(hash) {
  await page.evaluate((hash) => (location.hash = hash), hash);
}

/** Has axe look at the view, and takes its pictures in both schemes and sizes. */
async function look(name, { sizes = ["wide", "phone"] } = {}) {
  for (const size of sizes) {
    await page.setViewportSize(SIZES[size]);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.waitForTimeout(80);
      await check(`${name} ${size} ${colorScheme}`, colorScheme === "dark" ? CONTRAST : ALL);
      await picture(`${name}-${size}-${colorScheme}`);
    }
  }
  await page.setViewportSize(SIZES.wide);
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "no-preference" });
  figures.views += 1;
}

async function picture(name) {
  if (!STREAM_PICTURES) return;
  const file = STREAM_PICTURES.replace("%", name);
  mkdirSync(path.dirname(file), { recursive: true });
  await page.screenshot({ path: file });
  figures.pictures += 1;
}

async function check(name, rules = ALL) {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axe.source);
  const { violations } = await page.evaluate((runOnly) => window.axe.run({ runOnly }), rules);
  for (const { id, nodes } of violations) {
    findings.push(`${name}: ${id} at ${nodes.map(({ target }) => target.join(" ")).join(", ")}`);
  }
  const beyond = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  if (beyond) findings.push(`${name}: it is wider than the window`);
}

async function enter(token, keep) {
  await page.getByLabel("Access token of an account").fill(token);
  if (keep) await page.getByLabel("Keep it in this tab until it is closed").check();
  await role("button", "Sign in").click();
}

async function visit() {
  const loaded = new Map();
  const note = async (response) => {
    const { pathname } = new URL(response.url());
    if (response.ok() && !pathname.startsWith("/1.0/")) loaded.set(pathname, await response.body());
  };
  page.on("response", note);
  await page.goto(`${gateway}/console`, { waitUntil: "networkidle" });
  page.off("response", note);
  const sizes = [...loaded.values()].map((body) => gzipSync(body).length);
  figures.files = sizes.length;
  figures.gzip_bytes = sizes.reduce((sum, size) => sum + size, 0);
  if (figures.gzip_bytes > MOST_WEIGHT) throw new Error(`it weighs ${figures.gzip_bytes} bytes`);
}

// The steps

function folder() {
  return STREAM_UI ?? new URL("../../actors/gateway/ui", import.meta.url).pathname;
}

async function sayAll() {
  const [{ en }, { de }] = await Promise.all(
    ["en", "de"].map((name) => import(path.join(folder(), `console/texts/${name}.js`))));
  equal(Object.keys(de).join(), Object.keys(en).join());
  const holes = (text) => [...new Set(JSON.stringify(text).match(/\{\w+\}/g) ?? [])].sort().join();
  for (const key of Object.keys(en)) {
    equal(`${key} ${typeof de[key]} ${holes(de[key])}`, `${key} ${typeof en[key]} ${holes(en[key])}`);
  }
}

async function signIn() {
  await page.setViewportSize(SIZES.wide);
  await visit();
  await look("sign-in");
  await enter("AgEnonsense");
  await page.getByRole("alert").getByText("did not take the token").waitFor();
  await enter(STREAM_TOKEN);
  await role("heading", "Sessions").waitFor();
  for (const view of ["Agents", "Accounts", "Configuration"]) {
    equal(await role("link", view).count(), 0);
  }
  await go("#/settings");
  await role("heading", "Sessions").waitFor();
  await role("button", "Sign out").click();
  await enter(STREAM_OPERATOR_TOKEN, true);
  await role("link", "Accounts").waitFor();
  // It was asked to keep the token.
  await page.reload();
  await role("link", "Accounts").waitFor();
  equal(await page.evaluate(() => location.href.includes("Ag")), false);
}

async function empty() {
  await go("#/sessions");
  await sees("There is no session yet.");
  await look("sessions-empty");
}

async function create() {
  await page.keyboard.press("n");
  await role("heading", "New session").waitFor();
  await page.getByLabel("Application").selectOption(app);
  await page.getByLabel("Size").selectOption("720x1280");
  await page.getByText("More", { exact: true }).last().click();
  const extra = page.getByLabel("Data for the instance, as JSON");
  await extra.fill('{"a": ');
  await sees("This is no JSON");
  await role("button", "Create session").click();
  equal(await rows().count(), 0);
  await extra.fill('{"a": 1}');
  await look("new-session");
  await copies(() => role("button", "Copy as curl").click(), (text) => {
    if (!/^curl -X POST 'https:[^]*"width":720[^]*"extra_data":\{"a":1\}/.test(text)) throw new Error(text);
    if (text.includes("AgE")) throw new Error("the token is in the command");
  });
  await role("button", "Create session").click();
  await rows().first().waitFor();
  // The focus is on it: Enter opens it.
  await page.waitForFunction(() => document.activeElement.closest("tr[data-id]"));
  await page.locator('tr[data-status="active"]').waitFor();
  await sees("active");
  await look("sessions-one");
}

/** Has `act` copy something: to the clipboard, and by hand where the browser refuses that. */
async function copies(act, judge) {
  const context = page.context();
  await context.clearPermissions();
  await page.evaluate(() => {
    navigator.clipboard.writeText = () => Promise.reject(new Error("refused"));
  });
  await act();
  const area = page.locator("dialog textarea");
  await area.waitFor();
  judge(await area.inputValue());
  await role("button", "Close").last().click();
  await page.evaluate(() => {
    delete navigator.clipboard.writeText;
  });
}

async function filter() {
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
  await role("button", "Application").click();
  await page.locator('th[aria-sort="ascending"]').waitFor();
  await role("button", "Application").click();
  await page.locator('th[aria-sort="descending"]').waitFor();
  await role("button", "Application").click();
  equal(await page.locator("th[aria-sort]").count(), 0);
}

async function open() {
  await rows().first().locator("a").click();
  await sees("Taking control replaces whoever is connected.");
  await look("session");
  await role("button", "Take control").click();
  await sees("You control the session.");
  await page.waitForFunction(changes);
  await look("session-plays");
  // Too narrow for a line of buttons.
  await page.locator("stream-player").hover();
  await role("button", "Show the buttons").click();
  await role("button", "Leave").click();
  await role("button", "Take control").waitFor();
  await page.getByText("Document", { exact: true }).click();
  await sees('"container_id"');
}

async function share() {
  await page.getByLabel("may watch").check();
  await page.getByLabel("Lasts").selectOption({ label: "1 hour" });
  await page.getByLabel("Description").fill("for a colleague");
  let link;
  await copies(() => role("button", "Make and copy link").click(), (text) => (link = text));
  if (!/^https:.*#.*share=/.test(link)) throw new Error(`no link: ${link.slice(0, 30)}`);
  await sees("for a colleague");
  await look("session-shared");
  await copies(() => role("button", "Copy link").click(), (text) => equal(text, link));
  await role("button", "Prolong by 12 h").click();
  await sees("in 12 h");
  await role("button", "End share").click();
  await page.getByRole("dialog").getByRole("button", { name: "End share" }).click();
  await sees("The share has ended.");
}

async function end() {
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
  await go("#/sessions/aaaaaaaaaaaaaaaaaaaa");
  await sees("it is over, or never was");
  await look("session-gone", { sizes: ["wide"] });
}

async function failed() {
  const [session] = madeUp(1, () => ({ status: "error",
    status_message: "the instance failed: image jammy:android15 is missing at AMS" }));
  instead.set(`/1.0/sessions/${session.id}`, (route) => route.fulfill({ json: {
    type: "sync", status: "success", status_code: 200, metadata: session } }));
  await go(`#/sessions/${session.id}`);
  await sees("No picture: the session has failed.");
  await look("session-failed");
  instead.clear();
}

function madeUp(count, shape = () => ({})) {
  const states = ["active", "active", "active", "active", "active", "active", "created", "error"];
  const words = { active: "the instance is running", created: "launched, boots",
    error: "image jammy:android15 is missing at AMS" };
  const now = Math.floor(Date.now() / 1000);
  return Array.from({ length: count }, (_, n) => {
    const status = states[(n * 7 + Math.floor(n / 50)) % states.length];
    return { id: `s${String(n).padStart(19, "0")}`, app: ["clock", "maps", "game"][n % 3],
      region: ["eu-1", "us-2"][n % 2], status, status_message: words[status], joinable: true,
      container_id: "", cluster_id: "c1", created_at: now - (count - n) * 37, ...shape(n) };
  });
}

/** Has the list of sessions be what `list` returns. */
function sessionsAre(list) {
  instead.set("/1.0/sessions", (route, url) => {
    if (route.request().method() !== "GET" || url.pathname !== "/1.0/sessions") return route.continue();
    const all = list();
    const offset = Number(url.searchParams.get("offset"));
    const metadata = all.slice(offset, offset + Number(url.searchParams.get("limit")));
    const body = { type: "sync", status: "success", status_code: 200, metadata, total_size: all.length };
    return route.fulfill({ json: body });
  });
}

async function many() {
  const all = madeUp(MANY);
  sessionsAre(() => all);
  await go("#/sessions");
  await page.waitForFunction((count) =>
    document.querySelector("console-sessions table")?.getAttribute("aria-rowcount") === String(count),
  MANY + 1);
  await look("sessions-many");
  figures.most_rows = await rows().count();
  const [height, said] = await page.evaluate(() => [
    document.querySelector("tr[data-id]").getBoundingClientRect().height,
    getComputedStyle(document.documentElement).getPropertyValue("--row")]);
  equal(`${height}px`, said);
  const scrolled = await page.evaluate(async () => {
    const scroll = document.querySelector("console-sessions .scroll");
    const durations = [];
    let most = 0;
    for (let step = 0; step <= 50; step += 1) {
      const begun = performance.now();
      scroll.scrollTop = (scroll.scrollHeight / 50) * step;
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      durations.push(Math.round(performance.now() - begun));
      most = Math.max(most, scroll.querySelectorAll("tbody tr").length);
    }
    durations.sort((one, other) => one - other);
    return { usual: durations[25], slow: durations[45], most };
  });
  // Nine of ten: the machine may be busy with something else meanwhile.
  [figures.scroll_ms, figures.slow_scroll_ms] = [scrolled.usual, scrolled.slow];
  figures.most_rows = Math.max(figures.most_rows, scrolled.most);
  if (figures.most_rows > MOST_ROWS + 2) throw new Error(`${figures.most_rows} rows in the page`);
  figures.filter_ms = await page.evaluate(async () => {
    const field = document.querySelector(".filter");
    let least = Infinity;
    for (const text of ["maps", "maps err", "maps error"]) {
      const begun = performance.now();
      field.value = text;
      field.dispatchEvent(new Event("input"));
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      least = Math.min(least, performance.now() - begun);
    }
    return Math.round(least);
  });
  const slow = Math.max(figures.slow_scroll_ms, figures.filter_ms);
  if (slow > SLOW_MS) throw new Error(`it stops for ${slow} ms`);
  equal(await rows().evaluateAll((rows) => rows.every(({ dataset }) => dataset.status === "error")), true);
  await page.getByRole("searchbox").fill("");
  await keepsItsPlace(all);
  await comesBack();
  instead.clear();
}

/** Back from a session, the table is where it was. */
async function comesBack() {
  const top = () => page.locator("console-sessions .scroll").evaluate(({ scrollTop }) => scrollTop);
  const [before, row] = [await top(), rows().nth(14)];
  const id = await row.getAttribute("data-id");
  await row.locator("a").click();
  await page.locator("console-session").waitFor();
  await page.goBack();
  await page.waitForFunction((id) => document.activeElement.closest("tr")?.dataset.id === id, id);
  equal(await top(), before);
}

/** A row in sight stays where it is, though others come above it and it changes. */
async function keepsItsPlace(all) {
  const scroll = page.locator("console-sessions .scroll");
  await scroll.evaluate((element) => (element.scrollTop = 4_000));
  await page.waitForTimeout(100);
  const row = page.locator("console-sessions tbody tr[data-id]").nth(15);
  const id = await row.getAttribute("data-id");
  const at = () => page.locator(`tr[data-id="${id}"]`).evaluate((element) =>
    Math.round(element.getBoundingClientRect().top));
  const before = await at();
  all.push(...madeUp(MANY + 5).slice(MANY));
  all.find((session) => session.id === id).status = "terminating";
  await page.locator(`tr[data-id="${id}"][data-status="terminating"]`).waitFor();
  equal(await at(), before);
}

async function agents() {
  await role("link", "Agents").click();
  const link = page.locator("console-agents tbody a").first();
  await link.waitFor();
  await look("agents");
  const name = await link.textContent();
  await link.click();
  await role("heading", name).waitFor();
  await look("agent");
  await role("button", "Drain agent").click();
  await page.getByRole("dialog").getByText(/other agents of its cluster/).waitFor();
  await look("draining-asked", { sizes: ["wide"] });
  await page.getByRole("dialog").getByRole("button", { name: "Drain agent" }).click();
  // It is the last of its cluster: that is asked once more.
  await role("button", "Drain all the same").click();
  await sees("Nothing left: it can be stopped.");
  await look("agent-drained");
  await role("button", "Have it serve again").click();
  await page.locator('console-agents tr[data-state="serving"]').waitFor();
  await page.keyboard.press("Escape");
  await page.locator("console-agents aside").waitFor({ state: "hidden" });
  await page.goBack();
  await role("heading", name).waitFor();
  await agentsInTrouble();
}

async function agentsInTrouble() {
  const agent = (name, state, more) => ({ name, region: "eu-1", cluster: "c1", version: "0.2.0", state,
    cause: "", free: 40, sessions: 60, places: 100, left: 0, ends_in_s: null, remote_drain: true,
    dependencies: { nats: "ok", ams: "ok", tokens: "ok", turn: "ok" },
    actors: [{ name: "sessions", state: "running", restarts: 0, depth: 0, last_failure: null }],
    alerts: [], ...more });
  const list = [
    agent("agent-1", "serving"),
    agent("agent-2", "draining", { sessions: 12, left: 12, free: 0 }),
    agent("agent-3", "unavailable", { cause: "AMS does not trust the certificate", sessions: 0,
      dependencies: { nats: "ok", ams: "AMS does not trust the certificate" },
      alerts: ["register this agent at AMS: stream-agent ams register"] }),
    agent("agent-4", "silent", { cause: "no answer within 1.5 s", places: 0, sessions: 0 }),
  ];
  let metadata = list;
  instead.set("/1.0/agents", (route) => route.fulfill({ json: {
    type: "sync", status: "success", status_code: 200, metadata } }));
  await go("#/agents");
  await page.locator('tr[data-state="silent"]').waitFor();
  await look("agents-trouble");
  await go("#/agents/agent-2");
  await sees("12 sessions still to hand over");
  await look("agent-draining");
  metadata = [];
  await go("#/agents");
  await sees("No agent gives signs of life");
  await look("agents-none");
  instead.clear();
  await page.locator('tr[data-state="serving"]').waitFor();
}

async function accounts() {
  const now = Math.floor(Date.now() / 1000);
  const account = (name, more) => ({ name, created_at: now - 40 * 86_400, expires_at: now + 325 * 86_400,
    last_used_at: now - 1_800, replaced_until: null, ...more });
  const metadata = [
    account("billing", { last_used_at: null, expires_at: null }),
    account("demo"),
    account("kiosk", { own_sessions: true, max_sessions: 3, replaced_until: now + 600 }),
    account("night-shift", { operator: true, expires_at: now + 12 * 86_400 }),
    account("trial", { expires_at: now - 3_600 }),
  ];
  instead.set("/1.0/accounts", (route) => route.fulfill({ json: {
    type: "sync", status: "success", status_code: 200, metadata } }));
  await role("link", "Accounts").click();
  await page.locator("console-accounts tbody tr").nth(4).waitFor();
  await look("accounts");
  instead.clear();
  if (STREAM_UI) return;
  await go("#/sessions");
  await go("#/accounts");
  await page.locator("console-accounts tbody tr").getByText("operator").first().waitFor();
}

async function settings() {
  await role("link", "Configuration").click();
  const field = page.getByLabel("Hours that a share lasts");
  await field.waitFor();
  await look("settings");
  const form = page.locator("form").filter({ has: field });
  await field.fill("24");
  await form.getByRole("button", { name: "Save" }).click();
  await sees("share.expiry_h is 24 now");
  await form.getByRole("button", { name: "Use the file's value" }).click();
  await sees("share.expiry_h is 12 now");
  await go("#/more");
  await role("heading", "More").waitFor();
  await look("more", { sizes: ["phone"] });
}

async function keys() {
  const press = (key) => page.keyboard.press(key);
  await go("#/sessions");
  await sees("There is no session yet.");
  for (const name of ["first", "second"]) {
    await press("n");
    await page.waitForFunction(() => document.activeElement.name === "app");
    await page.waitForFunction(() => document.activeElement.options.length);
    await page.keyboard.type(app.slice(0, 3));
    for (let tabs = 0; ; tabs += 1) {
      await press("Tab");
      const there = await page.evaluate(() => document.activeElement.type === "submit");
      if (there) break;
      if (tabs > 20) throw new Error(`no way to the button of the ${name} session`);
    }
    await press("Enter");
    await page.waitForFunction(() => document.activeElement.closest("tr[data-id]"));
  }
  const focused = () => page.evaluate(() => document.activeElement.closest("tr")?.dataset.id);
  const second = await focused();
  await press("j");
  const first = await focused();
  if (!first || first === second) throw new Error("j does not move");
  await press("k");
  equal(await focused(), second);
  await press("?");
  await role("heading", "Keyboard").waitFor();
  await look("keyboard", { sizes: ["wide"] });
  await press("Escape");
  equal(await focused(), second);
  await press("Enter");
  await page.locator("console-session .session").waitFor();
  await press("Escape");
  await rows().first().waitFor();
  equal(await focused(), second);
  await press(" ");
  await press("j");
  await press(" ");
  await role("button", "End 2 sessions").waitFor();
  await look("sessions-selected");
  await role("button", "End 2 sessions").focus();
  await press("Enter");
  await page.getByRole("dialog").waitFor();
  await press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await press("Enter");
  await press("Tab");
  await press("Tab");
  await press("Enter");
  await sees("There is no session yet.");
}

async function away() {
  sessionsAre(() => madeUp(12));
  await rows().first().waitFor();
  instead.set("/1.0/", (route) => route.abort());
  instead.delete("/1.0/sessions");
  await sees("reconnecting in");
  await look("reconnecting", { sizes: ["wide"] });
  await page.locator('console-live[data-state="stale"]').waitFor();
  await look("stale");
  equal(await rows().count(), 12);
  instead.clear();
  await page.locator('console-live[data-state="live"]').waitFor();
}

async function narrow() {
  sessionsAre(() => madeUp(40));
  await rows().first().waitFor();
  // What is left of 1280 by 800 at twice the size.
  await page.setViewportSize({ width: 640, height: 400 });
  await check("twice the size");
  await picture("twice");
  await page.setViewportSize(SIZES.wide);
  instead.clear();
}

async function odd() {
  const long = "a-name-that-is-as-long-as-names-may-be-and-then-some-more-letters";
  sessionsAre(() => madeUp(8, (n) => [
    { app: long, status_message: `${long} ${long}` }, { app: "ساعة", status_message: "التطبيق يعمل" },
    { app: "שעון", region: "אזור" }][n % 3]));
  await page.getByText(long).first().waitFor();
  await look("sessions-odd");
  await page.getByLabel("Language").selectOption("de");
  await role("heading", "Sitzungen").waitFor();
  await look("sessions-german");
  await page.getByLabel("Sprache").selectOption("en");
  await role("heading", "Sessions").waitFor();
  instead.clear();
}

async function readOnly() {
  const { attenuate } = await import(path.join(folder(), "attenuate.js"));
  const may = "allow session.read application.read region.read share.read";
  const token = await attenuate(STREAM_OPERATOR_TOKEN, [may]);
  await role("button", "Sign out").click();
  sessionsAre(() => madeUp(3));
  await enter(token);
  await rows().first().waitFor();
  const { length } = await page.$$("main input[type=checkbox], main button.primary, main a.primary");
  equal(length, 0);
  equal(await page.locator(".sidebar nav a").evaluateAll((links) => links.length), 2);
  await page.keyboard.press("n");
  await page.keyboard.press(" ");
  await look("sessions-read-only", { sizes: ["wide"] });
  equal(await page.locator("aside:not([hidden])").count(), 0);
  instead.clear();
}

async function out() {
  instead.set("/1.0/", (route) => route.fulfill({ status: 401, json: { type: "error" } }));
  await page.getByRole("status").getByText("did not take the token").waitFor();
  instead.clear();
  await look("signed-out", { sizes: ["wide"] });
  const kept = await page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }]));
  if (kept.includes("AgE")) throw new Error("the token is still there");
}
