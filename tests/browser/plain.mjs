// A client of another origin, written from the manual alone, does all that clients do.
//
//   node plain.mjs <port of its origin> <gateway> <application> [--watch SECONDS | PICTURE]
//
// The token comes in STREAM_TOKEN. Prints each step, and makes a picture of it where PICTURE names
// one, with a % for its number. With --watch it watches a relayed stream instead, and prints how
// that went. When something fails it says why on stderr and exits with 1. CHROMIUM names another
// browser than /usr/bin/chromium.

import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import process from "node:process";

import { allow, judge, openPage, redact } from "./page.mjs";

const DEADLINE_MS = 150_000;
const FILES = ["/plain_adb.js", "/plain_client.js", "/plain_input.js", "/plain_steps.js"];

const [port, url, app, option, seconds] = process.argv.slice(2);
const watches = option === "--watch";
const picture = watches ? undefined : option;
const deadlineMs = DEADLINE_MS + Number(watches ? seconds : 0) * 1000;
const token = process.env.STREAM_TOKEN;
let current = "start";
let browser;

const server = createServer((request, response) => {
  if (FILES.includes(request.url)) {
    response.setHeader("Content-Type", "text/javascript");
    createReadStream(new URL(`.${request.url}`, import.meta.url)).pipe(response);
  } else {
    response.setHeader("Content-Type", "text/html");
    response.end("<!doctype html><title>Plain client</title><body>");
  }
});
server.listen(Number(port), "127.0.0.1");

try {
  const page = await openPage(deadlineMs, [
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
  ]);
  browser = page.context().browser();
  await page.exposeFunction("at", async (step) => {
    if (picture && current !== "start") await page.screenshot({ path: picture.replace("%", count()) });
    current = step;
    if (step) console.log(step);
  });
  // A session that its client has left takes the next one a moment later.
  allow(/status of 409 .*\/connect\)/);
  await page.goto(`http://127.0.0.1:${port}/`);
  const steps = page.evaluate(async (wanted) => {
    const { run, watch } = await import("/plain_steps.js");
    await (wanted.seconds ? watch : run)(wanted, window.at);
  }, { url, token, app, seconds: Number(watches ? seconds : 0) });
  await Promise.race([steps, deadline()]);
  judge();
} catch (error) {
  console.error(`${current}: ${redact(error.message.split("\n")[0])}`);
  process.exitCode = 1;
} finally {
  await browser?.close();
  server.close();
}
process.exit();

function deadline() {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error("it takes too long")), deadlineMs);
  });
}

function count() {
  count.last = (count.last ?? 0) + 1;
  return String(count.last).padStart(2, "0");
}
