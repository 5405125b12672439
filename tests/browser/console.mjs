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
import jsQR from "jsqr";

import { seeShares } from "./console_shares.mjs";
import { addEvents, cutEvents, holdEvents, muteEvents } from "./events.mjs";
import { changes, openPage, redact } from "./page.mjs";

const DEADLINE_MS = 30_000;
const MANY = 10_000;
const MOST_ROWS = 100;
const MOST_WEIGHT = 60 * 1024;
const SLOW_MS = 500;
const EVENTS = 50_000;
const BATCH = 250;
const LONG_TASK_MS = 50;
// Of some 30 MiB with 10,000 sessions.
const MOST_GROWN_KIB = 2_048;

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
  await holdEvents(page);
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
    "relays: see a relay that is withheld": relays,
    "accounts: read the accounts": accounts,
    "shares: see the shares of all sessions": () => seeShares({ page, instead, look, sees, role, go, equal },
      { app, gateway, token: STREAM_TOKEN, ui: STREAM_UI }),
    "figures: see how the gateway does": seeFigures,
    "settings: change the configuration": settings,
    "keys: do it by keys alone": keys,
    "away: get over a gateway that is away": away,
    "hidden: let go while nobody looks": hidden,
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
/** Looks at the view as it is now, with the element `at` at its top where one is named. */
async function look(name, { sizes = ["wide", "phone"], at } = {}) {
  for (const size of sizes) {
    await page.setViewportSize(SIZES[size]);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.waitForTimeout(80);
      if (at) await page.locator(at).evaluate((element) => element.scrollIntoView());
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
  // What fades in has not its colours yet.
  await page.evaluate(() => Promise.all(document.getAnimations().map(({ finished }) => finished)));
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
    if (!response.ok() || pathname.startsWith("/1.0/")) return;
    loaded.set(pathname, await response.body());
    const compressed = response.headers()["content-encoding"] === "gzip";
    if (!STREAM_UI && !compressed) complaints.push(`${pathname} is not compressed`);
  };
  page.on("response", note);
  // With a slash behind it, it is the same place.
  await page.goto(`${gateway}/console${STREAM_UI ? "" : "/"}`, { waitUntil: "networkidle" });
  page.off("response", note);
  equal(new URL(page.url()).pathname, "/console");
  figures.loaded_ms = await page.evaluate(() =>
    Math.round(performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd));
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
  for (const view of ["Agents", "Relays", "Accounts", "Configuration"]) {
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
  const region = page.locator('select[name="region"] option');
  await region.getByText(/^cloud-0, [0-9.]+ ms away$/).waitFor({ state: "attached" });
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
  // It is as high as what it shows, and goes on in another language.
  const [box, video] = await page.locator(".stage video").evaluate((video) =>
    [video.clientWidth / video.clientHeight, video.videoWidth / video.videoHeight]);
  if (Math.abs(box - video) > 0.02) throw new Error(`${video} in a box of ${box}`);
  await page.evaluate(() => (window.video = document.querySelector("video")));
  await page.getByLabel("Language").selectOption("de");
  await sees("Sitzung beenden");
  await role("heading", "Freigaben").waitFor();
  const called = () => page.locator("stream-player .bar > *").evaluateAll((parts) =>
    parts.map((part) => part.textContent || part.ariaLabel).join(" "));
  const german = await called();
  for (const word of ["Zurück", "Tastatur", "Lautstärke", "Ton an"]) equal(german.includes(word), true);
  await page.getByLabel("Sprache").selectOption("en");
  const english = await called();
  for (const word of ["Back", "Keyboard", "Loudness", "Sound on"]) equal(english.includes(word), true);
  await page.evaluate(() => delete window.firstDigest);
  await page.waitForFunction(changes);
  equal(await page.evaluate(() => window.video === document.querySelector(".stage.plays stream-player video")), true);
  // Too narrow for a line of buttons.
  await page.locator("stream-player").hover();
  await role("button", "Show the buttons").click();
  await role("button", "Leave").click();
  await role("button", "Take control").waitFor();
  await page.getByText("Document", { exact: true }).click();
  await sees('"container_id"');
  await explain();
}

/** Finds every hop of the session that was just played, and the one at which another failed. */
async function explain() {
  const hops = ["create", "place", "launch", "boot", "join", "socket", "offer", "answer", "client"];
  for (const hop of hops) {
    await page.locator("console-timeline .hop").getByText(hop, { exact: true }).first().waitFor();
  }
  equal(await page.locator("console-timeline .failed").count(), 0);
  await look("session-timeline", { at: "console-timeline" });
  const begun = Date.now() - 9_000;
  const told = (hop, after, text, more) => ({ hop, at_ms: begun + after, took_ms: null, text,
    unit: "agent-1", failed: false, count: 1, ...more });
  const entries = [
    told("create", 12, "account demo asks for maps", { took_ms: 12, unit: "gateway-1" }),
    told("place", 13, "agent agent-1 did not take the session: this agent is draining"),
    told("place", 14, "agent agent-2 has claimed the session: 62 places free", { took_ms: 1 }),
    told("launch", 224, "AMS has accepted instance cr3f8hsn", { took_ms: 210 }),
    told("refusal", 900, "account demo was turned away: session is created, not active", { count: 4 }),
    told("end", 6_130, "the instance ended with an error: image jammy:android15 is missing",
      { failed: true }),
  ];
  const { hop, at_ms, text } = entries.at(-1);
  const verdict = { fault: "image_missing", hop, at_ms, text, remedy: "give the image to AMS" };
  instead.set("/timeline", (route) => route.fulfill({ json: {
    type: "sync", status: "success", status_code: 200, metadata: { entries, verdict } } }));
  await page.locator("console-timeline .failed").waitFor();
  await sees("To do: give the image to AMS");
  await sees("×4");
  await look("session-explained", { at: "console-timeline" });
  instead.clear();
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
  await role("button", "QR code").click();
  await page.getByAltText("QR code of the link").waitFor();
  equal(await readCode(), link);
  await look("session-code");
  await role("button", "QR code").click();
  await page.getByAltText("QR code of the link").waitFor({ state: "detached" });
  await role("button", "Prolong by 12 h").click();
  await sees("in 12 h");
  await role("button", "End share").click();
  await page.getByRole("dialog").getByRole("button", { name: "End share" }).click();
  await sees("The share has ended.");
}

/** Reads the QR code on the page as a phone would. */
async function readCode() {
  const { width, height, data } = await page.locator("img.qr-code").evaluate(async (image) => {
    await image.decode();
    const side = 4 * image.width;
    const context = new OffscreenCanvas(side, side).getContext("2d");
    context.drawImage(image, 0, 0, side, side);
    return { width: side, height: side, data: [...context.getImageData(0, 0, side, side).data] };
  });
  return jsQR(Uint8ClampedArray.from(data), width, height)?.data;
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
  instead.set("/timeline", (route) => route.fulfill({ json: {
    type: "sync", status: "success", status_code: 200, metadata: { entries: [] } } }));
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

/** Has the list of sessions be what `list` returns, from now on. */
async function sessionsAre(list) {
  instead.set("/1.0/sessions", (route, url) => {
    if (route.request().method() !== "GET" || url.pathname !== "/1.0/sessions") return route.continue();
    const all = list();
    const offset = Number(url.searchParams.get("offset"));
    const metadata = all.slice(offset, offset + Number(url.searchParams.get("limit")));
    const body = { type: "sync", status: "success", status_code: 200, metadata, total_size: all.length };
    return route.fulfill({ json: body });
  });
  await anew();
}

/** Has the page list everything anew: what the gateway is said to answer is another thing now. */
async function anew() {
  await addEvents(page, [["reset", {}]]);
}

/** Has the gateway answer itself again. */
async function truth() {
  instead.clear();
  await anew();
}

async function many() {
  const all = madeUp(MANY);
  await sessionsAre(() => all);
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
  await hurries(all);
  await truth();
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
  const [changed] = all.filter((session) => session.id === id);
  await addEvents(page, [...madeUp(MANY + 5).slice(MANY), { ...changed, status: "terminating" }]
    .map((row) => ["session", row]));
  await page.locator(`tr[data-id="${id}"][data-status="terminating"]`).waitFor();
  equal(await at(), before);
}

/** Many changes at once neither stop the page nor make it grow. */
async function hurries(all) {
  const cdp = await page.context().newCDPSession(page);
  await page.evaluate(() => {
    window.longTasks = [];
    window.observer = new PerformanceObserver((list) =>
      window.longTasks.push(...list.getEntries().map(({ duration }) => Math.round(duration))));
    window.observer.observe({ entryTypes: ["longtask"] });
  });
  await page.evaluate((all) => (window.all = all), all);
  const rush = (count) => page.evaluate(async ([count, batch]) => {
    const { all } = window;
    const words = ["launched, boots", "the instance is running", "the client has left"];
    for (let n = 0; n < count; ) {
      const events = [];
      for (let end = n + batch; n < end; n += 1) {
        const row = { ...all[(n * 7919) % all.length], status_message: `${words[n % 3]} (${n})` };
        // Each tenth session goes, and comes back as another change.
        events.push(n % 10 ? ["session", row] : ["session.removed", { id: row.id }]);
      }
      window.addEvents(events);
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    }
    // As often as the page tells what has changed, and once more.
    await new Promise((done) => setTimeout(done, 500));
  }, [count, BATCH]);
  const heap = async () => {
    await cdp.send("HeapProfiler.collectGarbage");
    return Math.round((await cdp.send("Runtime.getHeapUsage")).usedSize / 1024);
  };
  await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
  const busy = async () => {
    const { metrics } = await cdp.send("Performance.getMetrics");
    return metrics.find(({ name }) => name === "TaskDuration").value * 1000;
  };
  await rush(EVENTS / 5);
  const before = await heap();
  await page.evaluate(() => window.longTasks.splice(0));
  const begun = await busy();
  await rush(EVENTS);
  figures.heap_kib = await heap();
  figures.grown_kib = figures.heap_kib - before;
  figures.long_tasks_ms = await page.evaluate(() => window.longTasks);
  await page.evaluate(() => window.observer.disconnect());
  // By the time of the processor: the machine may be busy with something else meanwhile.
  figures.step_ms = Math.round(((await busy()) - begun) / (EVENTS / BATCH));
  if (figures.step_ms > LONG_TASK_MS) throw new Error(`a step takes ${figures.step_ms} ms`);
  await cdp.detach();
  if (figures.grown_kib > MOST_GROWN_KIB) throw new Error(`it has grown by ${figures.grown_kib} KiB`);
  // One at a time changes nothing but itself.
  const row = rows().first();
  const id = await row.getAttribute("data-id");
  await addEvents(page, [["session", { ...all.find((one) => one.id === id), region: "here" }]]);
  await row.getByText("here").waitFor();
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
  const gone = (rows) => rows.map(({ name }) => ["agent.removed", { name }]);
  const real = await page.locator("console-agents tbody tr").getAttribute("data-name");
  await go("#/agents");
  await muteEvents(page, true);
  await addEvents(page, [...gone([{ name: real }]), ...list.map((row) => ["agent", row])]);
  await page.locator('tr[data-state="silent"]').waitFor();
  await look("agents-trouble");
  await go("#/agents/agent-2");
  await sees("12 sessions still to hand over");
  await look("agent-draining");
  await go("#/agents");
  await addEvents(page, gone(list));
  await sees("No agent gives signs of life");
  await look("agents-none");
  await muteEvents(page, false);
  await cutEvents(page);
  await page.locator('tr[data-state="serving"]').waitFor();
}

async function relays() {
  const way = (transport, binding_us, cause = "") =>
    ({ transport, binding_us, allocate_us: binding_us && binding_us * 2, cause });
  const at = (agent, state, ...transports) => ({ agent, state, cause: "", transports });
  const silent = way("udp", null, "no answer within 3 s");
  const good = (name, micros) => at(name, "good", way("udp", micros), way("tcp", micros * 1.4));
  let metadata = [
    { pool: "", server: "", state: "silent", agents: [{ agent: "agent-11", state: "silent",
      cause: "NATS gave no answer in time", transports: [] }] },
    { pool: "us", server: "turn:relay-us.example.com:3478?transport=udp", state: "withheld",
      agents: [at("agent-2", "withheld", silent, way("tcp", 92_000)), good("agent-1", 96_000)] },
    { pool: "eu", server: "turn:relay-eu-2.example.com:3478?transport=udp", state: "drained",
      agents: [at("agent-1", "drained", way("udp", 900)), at("agent-2", "drained", way("udp", 700))] },
    { pool: "eu", server: "turns:relay-eu-1.example.com:5349?transport=tcp", state: "good",
      agents: Array.from({ length: 9 }, (_, n) => good(`agent-${n + 1}`, 400 + n * 70)) },
  ];
  instead.set("/1.0/relays", (route) => route.fulfill({ json: {
    type: "sync", status: "success", status_code: 200, metadata } }));
  await role("link", "Relays").click();
  await page.locator('tr[data-state="withheld"]').waitFor();
  const states = await page.locator("console-relays tbody tr").evaluateAll((rows) =>
    rows.map(({ dataset }) => dataset.state).join());
  equal(states, "silent,withheld,drained,good");
  await sees("Not known: these agents do not answer");
  await sees("NATS gave no answer in time");
  await sees("no answer within 3 s");
  await look("relays");
  await page.getByText("and 5 more agents: all is well").click();
  await sees("agent-9");
  metadata = [];
  await go("#/agents");
  await go("#/relays");
  await sees("No agent hands out a relay");
  await look("relays-none", { sizes: ["wide"] });
  instead.clear();
}

async function seeFigures() {
  await role("link", "Figures").click();
  await sees("Requests under way");
  await sees(/all \d+ actors run/);
  const refusals = page.locator(".refusals tbody tr");
  // A token that was not good, at the least: that of the sign-in.
  if (!STREAM_ONLY) await refusals.getByText("its token was not good").waitFor();
  // The second look has something to compare with.
  const requests = page.locator(".plot", { hasText: "Requests" }).first().locator("dd");
  await requests.filter({ hasText: "/s" }).waitFor();
  await figuresOverTime();
}

/** As they are after a while, of a gateway that has something to do. */
async function figuresOverTime() {
  let scrapes = 0;
  const name = "anbox_stream_gateway_";
  instead.set("/metrics", (route) => {
    const n = (scrapes += 1);
    const requests = 900 * n + Math.round(300 * Math.sin(n / 4));
    const bound = (le, part) => `${name}http_request_duration_seconds_bucket{le="${le}",` +
      `handler="get_session"} ${Math.round(requests * part)}`;
    const body = [`${name}build_info{unit="gw-1",version="0.2.0"} 1`,
      `${name}sessions_total{status="active"} ${40 + Math.round(12 * Math.sin(n / 9))}`,
      `${name}http_requests_total{handler="get_session",code="2xx"} ${requests}`,
      `${name}http_requests_total{handler="get_session",code="5xx"} ${n > 20 ? 6 * (n - 20) : 0}`,
      bound("0.005", 0.7), bound("0.01", 0.9), bound("0.025", 0.97), bound("+Inf", 1),
      `${name}http_in_flight_requests ${3 + (n % 5)}`,
      `${name}tls_handshakes_total{kind="full"} ${n * 7}`, `${name}nats_up 1`,
      `${name}actor_state{actor="bridge",state="running"} 1`,
      `${name}actor_state{actor="views",state="restarting"} 1`,
      `${name}http_refused_requests_total{cause="token"} ${17 + n}`,
      `${name}http_refused_requests_total{cause="session_limit"} 4`,
      `${name}http_refused_requests_total{cause="a_later_cause"} 2`].join("\n");
    return route.fulfill({ body, contentType: "text/plain" });
  });
  await page.evaluate(() => {
    const { now } = Date;
    window.ahead = 0;
    Date.now = () => now() + window.ahead;
  });
  await go("#/agents");
  await go("#/figures");
  for (let n = 1; n < 40; n += 1) {
    const shown = page.waitForResponse("**/metrics");
    // Whoever comes back to the tab is shown how it is now.
    await page.evaluate(() => {
      window.ahead += 5_000;
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await shown;
  }
  await sees("gw-1, version 0.2.0");
  await sees("views: restarting");
  await sees("a_later_cause");
  const curve = page.locator(".plot-curve").first();
  if ((await curve.getAttribute("points")).split(" ").length < 10) throw new Error("there is no line");
  await look("figures");
  instead.clear();
  await page.evaluate(() => (window.ahead = 0));
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
  equal(await page.getByRole("button", { name: "Save" }).count(), 0);
  const form = page.locator("form").filter({ has: field });
  await field.focus();
  equal(await page.getByRole("button", { name: "Save" }).count(), 1);
  await look("setting");
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
  await go("#/sessions");
  await sessionsAre(() => madeUp(12));
  await rows().first().waitFor();
  instead.clear();
  instead.set("/1.0/", (route) => route.abort());
  await cutEvents(page);
  await sees("reconnecting in");
  await look("reconnecting", { sizes: ["wide"] });
  await page.locator('console-live[data-state="stale"]').waitFor();
  await look("stale");
  equal(await rows().count(), 12);
  instead.clear();
  await page.locator('console-live[data-state="live"]').waitFor();
}

async function hidden() {
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

async function narrow() {
  await sessionsAre(() => madeUp(40));
  await rows().first().waitFor();
  // What is left of 1280 by 800 at twice the size.
  await page.setViewportSize({ width: 640, height: 400 });
  await check("twice the size");
  await picture("twice");
  await page.setViewportSize(SIZES.wide);
  await truth();
}

async function odd() {
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

async function readOnly() {
  const { attenuate } = await import(path.join(folder(), "attenuate.js"));
  const may = "allow session.read application.read region.read share.read";
  const token = await attenuate(STREAM_OPERATOR_TOKEN, [may]);
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
  await look("sessions-read-only", { sizes: ["wide"] });
  equal(await page.locator("aside:not([hidden])").count(), 0);
  instead.clear();
}

async function out() {
  instead.set("/1.0/", (route) => route.fulfill({ status: 401, json: { type: "error" } }));
  await cutEvents(page);
  await page.getByRole("status").getByText("did not take the token").waitFor();
  instead.clear();
  await look("signed-out", { sizes: ["wide"] });
  const kept = await page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }]));
  if (kept.includes("AgE")) throw new Error("the token is still there");
}
