// Puts the player into a frame of pages elsewhere, with the example of the README: one whose origin
// is listed, where it plays, tells and leaves, and one whose origin is not, where there is nothing.
//
//   node embed.mjs <listed port> <other port> <gateway> <application>
//
// STREAM_TOKEN is the token of an account. STREAM_PICTURES and STREAM_UI are those of player.mjs.
// When something fails it says why on stderr and exits with 1.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import process from "node:process";

import { allow, judge, openPage, redact } from "./page.mjs";
import { Looks, equal, serveFrom } from "./player_page.mjs";

const DEADLINE_MS = 40_000;

const [listed, other, gateway, app] = process.argv.slice(2);
const { STREAM_TOKEN, STREAM_PICTURES, STREAM_UI } = process.env;
const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
const example = readme.match(/```html\n(<iframe[^]*?)```/)[1]
  .replace("https://stream.example.org:4000", gateway);

let share;
let browser;
const looks = new Looks(STREAM_PICTURES);
const servers = [listed, other].map((port) => createServer((request, response) => {
  if (request.url === "/share.json") return response.end(JSON.stringify(share));
  response.setHeader("Content-Type", "text/html");
  return response.end(`<!doctype html><html lang="en"><title>Elsewhere</title>
    <style>body { margin: 0 } h1 { margin: 8px }
      iframe { display: block; border: 0; width: 100%; height: 80vh }</style>
    <main><h1>Elsewhere</h1>${example}</main>`);
}).listen(Number(port), "127.0.0.1"));

try {
  equal(example.trim().split("\n").length, 15);
  const page = await openPage(DEADLINE_MS, ["--lang=en-US", "--disable-features=LocalNetworkAccessChecks"]);
  browser = page.context().browser();
  await page.context().route("**/*", serveFrom(STREAM_UI, `http://127.0.0.1:${listed}`));
  await page.addInitScript(() => {
    window.told = [];
    addEventListener("message", ({ data, origin }) => window.told.push({ ...data, origin }));
  });
  const { id } = await ask("POST", "sessions", { app, joinable: true });
  share = await ask("POST", `sessions/${id}/share`, { type: "control" });
  await plays(page);
  await refusesOthers(page, id);
  equal(looks.findings, []);
  await elsewhere(page);
  judge();
  console.log(JSON.stringify({ ok: true, pictures: looks.pictures }));
} catch (error) {
  await looks.picture(browser?.contexts()[0].pages()[0], "embed-failed");
  console.error(redact([error.message.split("\n")[0], ...looks.findings].join(" | ")));
  process.exitCode = 1;
} finally {
  await browser?.close();
  servers.forEach((server) => server.close());
}
process.exit();

async function ask(method, way, data) {
  const { request } = browser.contexts()[0];
  const response = await request.fetch(`${gateway}/1.0/${way}`,
    { method, data, ignoreHTTPSErrors: true, headers: { Authorization: `Macaroon root=${STREAM_TOKEN}` } });
  const { metadata, error } = await response.json();
  if (error) throw new Error(`${way}: ${error}`);
  return metadata;
}

/** Waits until the page around was told `type`; returns what it was told. */
async function told(page, type) {
  const message = await page.waitForFunction((type) => window.told.find((one) => one.type === type), type);
  return message.jsonValue();
}

async function plays(page) {
  await page.goto(`http://127.0.0.1:${listed}/`);
  const ready = await told(page, "ready");
  equal(ready, { type: "ready", origin: gateway });
  const frame = page.frames().find((frame) => frame.url().startsWith(gateway));
  equal(new URL(frame.url()).hash, "");
  await looks.at(page, "embed");
  // A stranger in the page's place is not heard.
  await frame.evaluate(() => dispatchEvent(new MessageEvent("message",
    { data: { type: "disconnect" }, origin: "https://stranger.example", source: parent })));
  await frame.evaluate(() => dispatchEvent(new MessageEvent("message",
    { data: { type: "disconnect" }, origin: location.origin, source: window })));
  equal(await frame.locator("stream-player").getAttribute("data-state"), "playing");
  await page.getByRole("button", { name: "Leave", exact: true }).last().click();
  const ended = await told(page, "ended");
  equal(ended.cause, "disconnected");
  await frame.getByText("The stream was left.").waitFor();
}

/** A token that opens more than one session, or another one than it says, is not taken. */
async function refusesOthers(page, id) {
  const good = new URLSearchParams(new URL(share.url).hash.slice(1)).get("share");
  for (const hash of [`session=${id}&share=${STREAM_TOKEN}`, `session=${id}`, "",
    `session=aaaaaaaaaaaaaaaaaaaa&share=${good}`]) {
    share = { url: `${gateway}/#${hash}` };
    await page.goto(`http://127.0.0.1:${listed}/`);
    equal((await told(page, "error")).cause, "embed_token");
    const frame = page.frames().find((frame) => frame.url().startsWith(gateway));
    await frame.getByText("takes the link of a share").waitFor();
    equal(await frame.locator(".badge").isVisible(), false);
  }
  await looks.at(page, "embed-refused");
  share = { url: `${gateway}/#session=${id}&share=${good}` };
}

async function elsewhere(page) {
  allow(/frame-ancestors/, 1);
  const refused = page.waitForEvent("console", (message) => message.text().includes("frame-ancestors"));
  await page.goto(`http://127.0.0.1:${other}/`);
  await refused;
  const frame = page.frames().at(-1);
  equal(await frame.locator("stream-player").count().catch(() => 0), 0);
  equal(await page.evaluate(() => window.told), []);
}
