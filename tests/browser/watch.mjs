// Watches one session through the relay for a while, and says how smoothly it went.
//
//   node watch.mjs <page address with fragment> <seconds>
//
// Prints `streaming` once it does, and at the end one JSON object; when a step fails, says so on
// stderr and exits with 1.

import process from "node:process";

import { reach, visit, withPage } from "./page.mjs";

const [address, seconds] = process.argv.slice(2);

await withPage(async (page) => {
  await visit(page, address);
  await reach(page, "streaming");
  await page.evaluate(watchFrames);
  console.log("streaming");
  await page.waitForTimeout(Number(seconds) * 1000);
  return page.evaluate(report);
});

/** In the page: notes every pause between two decoded frames that is long enough to be seen. */
function watchFrames() {
  const watched = { frames: 0, gaps: [], since: performance.now() };
  window.watched = watched;
  setInterval(() => {
    const { totalVideoFrames } = document.querySelector("video").getVideoPlaybackQuality();
    const now = performance.now();
    if (totalVideoFrames === watched.frames) return;
    const gap = now - watched.since;
    if (gap > 200) watched.gaps.push(Math.round(gap));
    Object.assign(watched, { frames: totalVideoFrames, since: now });
  }, 20);
}

/** In the page: how it went, and how it goes now. */
async function report() {
  const { frames, gaps, since } = window.watched;
  const stats = await window.peers.at(-1).getStats();
  const transport = [...stats.values()].find(({ type }) => type === "transport");
  const pair = stats.get(transport.selectedCandidatePairId);
  return {
    session: document.documentElement.dataset.session,
    state: document.documentElement.dataset.state,
    candidate: stats.get(pair.localCandidateId).candidateType,
    frames,
    gaps_ms: gaps,
    quiet_ms: Math.round(performance.now() - since),
  };
}
