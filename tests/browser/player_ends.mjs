// How streams come and go, the same in every browser: shaky and lost connections, others who take the
// place, watching only, the end. `by` is a ChromiumVisitor or a FirefoxVisitor; `at` is
// `{gateway, app, token, ui}`, with the token of an account and the folder of the page.

import { request } from "node:https";
import path from "node:path";

import { changes, reach } from "./page.mjs";
import { equal, has, saidBy, windowPlace } from "./player_page.mjs";

/** How often the page asks before it takes the gateway for unreachable. */
const ATTEMPTS = 4;

/** Plays a session of its own, whatever was there before. */
export async function start(by, { gateway, app, token }) {
  await by.page.goto("about:blank");
  await by.page.goto(`${gateway}/#token=${token}&app=${app}&start=1`, { waitUntil: "domcontentloaded" });
  await reach(by.page, "asking");
  await by.click("Sign in and go on");
  await reach(by.page, "streaming");
}

export async function getOver(by) {
  const { page } = by;
  await become(page, "disconnected");
  await has(page, 'stream-player[data-state="shaky"]');
  await by.look("shaky");
  await become(page, "connected");
  await has(page, 'stream-player[data-state="playing"]');
}

/** Joins again until that is possible, and shows what goes on. */
export async function comeBack(by) {
  const { page } = by;
  let tries = 0;
  by.allow(/net::ERR_FAILED .*\/join\)/, ATTEMPTS);
  const stop = await by.intercept("/join?", () => {
    tries += 1;
    return tries > ATTEMPTS ? undefined : "abort";
  });
  await become(page, "failed");
  await by.sees("Reconnecting …");
  await by.look("reconnecting");
  await by.sees("Reconnecting, attempt 2");
  await has(page, 'stream-player[data-state="playing"]');
  equal(tries, ATTEMPTS + 1);
  await stop();
  await page.evaluate(() => delete window.firstDigest);
  await page.waitForFunction(changes);
}

/** Another client takes the place, and the token is taken no more. */
export async function beReplaced(by, at) {
  const { page } = by;
  await ask(at, "POST", `sessions/${await session(page)}/join`, {});
  await by.sees("Another client has joined in your place");
  await reach(page, "ended");
  await by.look("ended");
  await by.click("Reconnect");
  await reach(page, "streaming");
  by.allow(/status of 401 .*\/join\)/, 1);
  const stop = await by.intercept("/join?", () => 401);
  await by.press("Fit to window");
  await by.sees("it has ended or was revoked");
  await stop();
  equal(await by.count("Reconnect"), 0);
  await by.click("Choose another application");
  await has(page, "#start-form:not([hidden])");
  await by.look("start");
}

/** Watches a session with a token that is for watching it only, until that ends. */
export async function watchOnly(by, at) {
  const { page } = by;
  await start(by, at);
  const { id, link } = await linkToWatch(by, at);
  // Whoever controlled it has left.
  await page.goto("about:blank");
  await page.goto(link, { waitUntil: "domcontentloaded" });
  await reach(page, "streaming");
  await by.sees(/^You are watching$/);
  for (const name of ["Keyboard", "Back", "Paste", "Camera", "Fit to window", "End session"]) {
    equal(await by.count(name), 0);
  }
  const place = await windowPlace(page, { x: 400, y: 600 });
  const said = await saidBy(page, async () => {
    await page.mouse.click(place.x, place.y);
    await by.sees(/^Taps are not sent$/);
    await page.keyboard.press("KeyA");
  });
  equal(said, []);
  await by.look("view-only", { before: () => page.mouse.click(200, 400) });
  by.allow(/status of 40[14] .*\/1\.0\/sessions\/\w+\)/, 1);
  await ask(at, "DELETE", `sessions/${id}`);
  // Its end may have reached the tokens already that are bound to it.
  await by.sees(/^(The session is over\.|The session, or the link to it, has ended\.)$/);
  await by.look("over");
}

/** Returns the session that is played, as `id`, and a `link` with which others may watch it only. */
export async function linkToWatch({ page }, { gateway, token, ui }) {
  const id = await session(page);
  const { attenuate } = await import(path.join(ui, "attenuate.js"));
  const share = await attenuate(token, [`declared session ${id}`, "declared role view"]);
  return { id, link: `${gateway}/#session=${id}&share=${share}` };
}

export async function startAndEnd(by, at) {
  await start(by, at);
  await end(by);
}

/** Ends the session, but not before it was asked for twice. */
export async function end(by) {
  const { page } = by;
  await by.press("End session");
  await by.sees("Whoever watches is cut off.");
  await by.look("end-asked");
  await by.click("Leave as it is");
  equal(await page.evaluate(() => document.documentElement.dataset.state), "streaming");
  await by.press("End session");
  await by.click("End session", ".ask");
  await reach(page, "ended");
  await by.sees("The session has ended.");
}

function session(page) {
  return page.evaluate(() => document.documentElement.dataset.session);
}

/** Has the last connection say of itself what a network does to it. */
async function become(page, state) {
  await page.evaluate((state) => {
    const peer = window.peers.at(-1);
    Object.defineProperty(peer, "iceConnectionState", { value: state, configurable: true });
    peer.oniceconnectionstatechange();
  }, state);
}

/** Asks the gateway; throws what it refuses. Nobody vouches for its certificate. */
export function ask({ gateway, token }, method, way, body) {
  const headers = { Authorization: `Macaroon root=${token}`, "Content-Type": "application/json" };
  const options = { method, headers, rejectUnauthorized: false };
  return new Promise((done, fail) => {
    const asking = request(`${gateway}/1.0/${way}`, options, (response) => {
      response.resume();
      if (response.statusCode < 400) response.on("end", done);
      else fail(new Error(`${method} ${way.split("/").at(-1)}: ${response.statusCode}`));
    });
    asking.on("error", fail);
    asking.end(body && JSON.stringify(body));
  });
}
