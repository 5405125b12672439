// Ten thousand sessions, and what happens to them.

import { addEvents } from "../events.mjs";
import {
  equal, expectAnswers, figures, go, look, madeUp, page, rows, sessionsAre, truth,
} from "./page.mjs";

const MANY = 10_000;
const MOST_ROWS = 100;
const SLOW_MS = 500;
const EVENTS = 50_000;
const BATCH = 250;
const LONG_TASK_MS = 50;
// Of some 30 MiB with 10,000 sessions.
const MOST_GROWN_KIB = 2_048;

export async function many() {
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
  // The gateway itself does not know it.
  expectAnswers(404, `/1.0/sessions/${id}`, 1);
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
  const id = await rows().first().getAttribute("data-id");
  await addEvents(page, [["session", { ...all.find((one) => one.id === id), region: "here" }]]);
  await page.locator(`tr[data-id="${id}"]`).getByText("here").waitFor();
}
