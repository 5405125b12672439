// Watches one session in a real browser until its signaling socket was lost and opened again.
//
//   node resume.mjs <page address with fragment>
//
// Prints one JSON object once it streams, with the address of the socket, and another once there is
// a new socket and the picture still moves; when a step fails, says so on stderr and exits with 1.

import process from "node:process";

import { allow, keepSockets, reach, visit, withPage } from "./page.mjs";

const [address] = process.argv.slice(2);

await withPage(async (page) => {
  await page.addInitScript(keepSockets);
  await visit(page, address);
  await reach(page, "streaming");
  console.log(JSON.stringify({ url: await page.evaluate(() => window.sockets[0].url) }));
  // The gateway is away for a moment.
  allow(/WebSocket connection to .* failed/);
  allow(/net::ERR_(CONNECTION_\w+|EMPTY_RESPONSE) /);
  await page.waitForFunction(() => window.sockets[0].readyState === WebSocket.CLOSED);
  await page.waitForFunction(() => window.sockets.at(-1).readyState === WebSocket.OPEN);
  const frames = await page.evaluate(decoded, 0);
  await page.waitForFunction(decoded, frames + 30);
  return page.evaluate(report);
});

/** In the page: how many frames it has decoded, if there are at least so many. */
function decoded(atLeast) {
  const { totalVideoFrames } = document.querySelector("video").getVideoPlaybackQuality();
  return totalVideoFrames >= atLeast && totalVideoFrames;
}

/** In the page. */
function report() {
  const { state } = document.documentElement.dataset;
  return { state, url: window.sockets.at(-1).url };
}
