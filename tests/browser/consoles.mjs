// Two consoles that a test has look at what it does elsewhere.
//
//   node consoles.mjs <address of the gateway>
//
// STREAM_TOKEN is the token of an operator. Reads orders from stdin, a JSON object a line, has both
// consoles carry out each, and answers with a line:
//
//   {"go": "#/agents"}    opens a view
//   {"see": "a selector"} waits until it is there
//   {"cut": true}         ends their streams of events
//   {"away": true}        cuts their streams of events off, and has the gateway be away until `false`
//   {"asked": true}       answers what both have asked for, since they signed in

import process from "node:process";
import { createInterface } from "node:readline/promises";

import { askedSince, cutEvents, holdEvents } from "./events.mjs";
import { allow, judge, openPage, redact } from "./page.mjs";

const DEADLINE_MS = 20_000;

const [gateway] = process.argv.slice(2);
const pages = [];

try {
  for (let count = 0; count < 2; count += 1) pages.push(await openConsole());
  console.log("{}");
  for await (const line of createInterface({ input: process.stdin })) {
    const answer = await carryOut(JSON.parse(line));
    judge();
    console.log(JSON.stringify(answer));
  }
} catch (error) {
  console.error(redact(error.message));
  process.exitCode = 1;
} finally {
  for (const page of pages) await page.context().browser().close();
}
process.exit();

async function openConsole() {
  const page = await openPage(DEADLINE_MS, ["--lang=en-US"]);
  await holdEvents(page);
  await page.goto(`${gateway}/console`);
  await page.getByLabel("Access token of an account").fill(process.env.STREAM_TOKEN);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("heading", { name: "Sessions", exact: true }).waitFor();
  return page;
}

async function carryOut({ go, see, cut, away, asked }) {
  const each = (work) => Promise.all(pages.map(work));
  if (go) await each((page) => page.evaluate((go) => (location.hash = go), go));
  if (see) await each((page) => page.locator(see).first().waitFor({ state: "attached" }));
  if (cut) await each(cutEvents);
  if (away === true) {
    allow(/net::ERR_FAILED \(\/1\.0\//);
    await each((page) => page.route("**/1.0/**", (route) => route.abort()));
    await each(cutEvents);
  }
  if (away === false) await each((page) => page.unroute("**/1.0/**"));
  if (asked) return { asked: await each(askedSince) };
  return {};
}
