// Measures the console in a real browser: how soon it is there, and how it does with the sessions of
// a gateway that has thousands.
//
//   node console_times.mjs <address of the gateway> <application> <sessions> <rounds>
//
// STREAM_TOKEN is the token of an operator. Prints an object of lists, one number a round: times in
// milliseconds, and how many tasks of the page were longer than 50 ms.

import process from "node:process";

import { judge, listen, openPage, redact } from "./page.mjs";

const DEADLINE_MS = 60_000;
const STEPS = 50;
const WORDS = ["app", "application-7", "application-7-of", "active", ""];

const [gateway, app, sessions, rounds] = process.argv.slice(2);
const token = process.env.STREAM_TOKEN;
const times = { floor: [], first_view: [], listed: [], long_tasks: [], created: [], seen: [] };
let browser;

try {
  browser = (await openPage(DEADLINE_MS, ["--lang=en-US"])).context().browser();
  // The first of all pays for what the browser itself finds warm later.
  for (let round = 0; round <= Number(rounds); round += 1) {
    const measured = await measure();
    if (round === 0) continue;
    for (const [name, value] of Object.entries(measured)) times[name].push(value);
    console.error(`round ${round} of ${rounds}`);
  }
  judge();
  console.log(JSON.stringify(times));
} catch (error) {
  console.error(redact(error.message));
  process.exitCode = 1;
} finally {
  await browser?.close();
}
process.exit();

/** One round, in pages that share nothing with those of the round before. */
async function measure() {
  const floor = await inPage(async (page) => {
    await page.goto(`${gateway}/1.0/health/live`);
    return painted(page);
  });
  return inPage(async (first) => {
    await first.addInitScript(countLongTasks);
    await first.goto(`${gateway}/console`);
    await first.getByLabel("Access token of an account").waitFor();
    const first_view = await painted(first);
    const listed = await signIn(first);
    const long_tasks = await scrollAndFilter(first);
    return inPage(async (second) => {
      await second.goto(`${gateway}/console`);
      await signIn(second);
      return { floor, first_view, listed, long_tasks, ...(await change([first, second])) };
    });
  });
}

async function inPage(work) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true, locale: "en-US", viewport: { width: 1280, height: 800 },
  });
  listen(context);
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(DEADLINE_MS);
    return await work(page);
  } finally {
    await context.close();
  }
}

/** How long after the address was asked for the page first showed something, by the browser itself. */
async function painted(page) {
  const entry = await page.waitForFunction(() =>
    performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
  return entry.jsonValue();
}

/** Returns how long it took until the table had all rows. */
async function signIn(page) {
  await page.getByLabel("Access token of an account").fill(token);
  const begun = performance.now();
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.waitForFunction((wanted) => {
    const table = document.querySelector("console-sessions table");
    return Number(table?.getAttribute("aria-rowcount")) > wanted;
  }, Number(sessions));
  return performance.now() - begun;
}

/** In the page: counts tasks of more than 50 ms (Long Tasks API of W3C). */
function countLongTasks() {
  window.longTasks = [];
  const observer = new PerformanceObserver((list) => window.longTasks.push(...list.getEntries()));
  observer.observe({ type: "longtask", buffered: true });
}

/** Returns how many tasks were long while the table was scrolled, filtered and sorted. */
async function scrollAndFilter(page) {
  return page.evaluate(async ([steps, words]) => {
    const rest = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    // What listing them took is told by then, and none of it counts.
    await rest();
    const begun = performance.now();
    const scroll = document.querySelector("console-sessions .scroll");
    for (let step = 0; step <= steps; step += 1) {
      scroll.scrollTop = (scroll.scrollHeight / steps) * step;
      await rest();
    }
    const field = document.querySelector(".filter");
    for (const word of words) {
      field.value = word;
      field.dispatchEvent(new Event("input"));
      await rest();
    }
    for (const sort of ["?sort=app&order=asc", "?sort=app&order=desc", ""]) {
      location.hash = `#/sessions${sort}`;
      await rest();
      await rest();
    }
    return window.longTasks.filter(({ startTime }) => startTime >= begun).length;
  }, [STEPS, WORDS]);
}

/** Returns how long the creation of a session took, and when both had it in the table after that. */
async function change(pages) {
  const asked = (method, path, body) => pages[0].evaluate(async ([method, path, body, token]) => {
    const headers = { Authorization: `Macaroon root=${token}` };
    const begun = performance.now();
    const answer = await fetch(path, { method, headers, body });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status}`);
    const { metadata } = await answer.json();
    return { id: metadata?.id, took: performance.now() - begun };
  }, [method, path, body, token]);
  const { id, took } = await asked("POST", "/1.0/sessions", JSON.stringify({ app }));
  const begun = performance.now();
  await Promise.all(pages.map((page) => page.locator(`tr[data-id="${id}"]`).waitFor()));
  const seen = performance.now() - begun;
  await asked("DELETE", `/1.0/sessions/${id}`);
  return { created: took, seen };
}
