// The shares of all sessions in the console: who made which, what can be done to one, and how many
// look.

import {
  STREAM_TOKEN, STREAM_UI, answered, app, equal, gateway, go, instead, look, page, role, sees,
} from "./page.mjs";

const HOUR_S = 3_600;

/**
 * Makes shares, sees them come, prolongs and ends one; then looks at the view with many and without
 * any.
 */
export async function seeShares() {
  const rows = page.locator("console-all-shares tbody tr[data-id]");
  await role("link", "Shares").click();
  await role("heading", "Shares").waitFor();
  const ask = async (method, path, data) => {
    const headers = { Authorization: `Macaroon root=${STREAM_TOKEN}` };
    const request = { method, headers, data, ignoreHTTPSErrors: true };
    const response = await page.context().request.fetch(`${gateway}/1.0/${path}`, request);
    const { metadata, error } = await response.json();
    if (!response.ok()) throw new Error(`${method} ${path}: ${error}`);
    return metadata;
  };
  if (!STREAM_UI) await sees("There is no share.");
  const session = await ask("POST", "sessions", { app, joinable: true });
  const now = Math.floor(Date.now() / 1000);
  const make = (type, description, hours) => ask("POST", `sessions/${session.id}/share`,
    { type, description, expiry_at: now + hours * HOUR_S });
  const later = await make("control", "for the night shift", 6);
  const sooner = await make("view", "for Ada", 2);
  // Both are told by events, and what ends next comes first.
  await rows.nth(1).waitFor();
  const ids = () => rows.evaluateAll((found) => found.map(({ dataset }) => dataset.id).join());
  equal(await ids(), `${sooner.id},${later.id}`);
  const cells = await rows.first().locator("td").evaluateAll((found) =>
    found.slice(0, 4).map(({ textContent }) => textContent).join(" | "));
  equal(cells, `${session.id} | may watch | for Ada | test`);
  equal(await rows.first().getByRole("link").getAttribute("href"), `#/sessions/${session.id}`);

  await rows.first().getByRole("button", { name: "12 h longer" }).click();
  await sees("The share lasts longer.");
  await rows.first().filter({ hasText: "for the night shift" }).waitFor();
  equal((await ask("GET", `shares/${sooner.id}`)).expiry_at, now + 14 * HOUR_S);

  const ending = page.locator(`console-all-shares tr[data-id="${later.id}"]`);
  await ending.getByRole("button", { name: "End share" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("may control · for the night shift").waitFor();
  await dialog.getByRole("button", { name: "End share" }).click();
  await ending.waitFor({ state: "detached" });
  equal(await ids(), sooner.id);
  // The keys go on from where they were.
  await page.waitForFunction(() => document.activeElement?.matches("console-all-shares h1"));
  await page.keyboard.press("j");
  await page.waitForFunction(() => document.activeElement?.closest("tr[data-id]"));
  // With its session goes its share.
  await ask("DELETE", `sessions/${session.id}`);
  await sees("There is no share.");
  await look("shares-none");
  await seeMany(rows, now);
}

/** As they are at a site with many, and with the words of others. */
async function seeMany(rows, now) {
  const words = ["", "for Ada", "training, room 3", "مشاركة للتدريب",
    "the kiosk at the east entrance, until the new one has come and somebody has tried it"];
  const metadata = Array.from({ length: 400 }, (_, n) => ({
    id: `share${String(n).padStart(15, "0")}`, session_id: `abcdefghij${String(n).padStart(10, "0")}`,
    type: ["control", "view", "adb"][n % 3], description: words[n % words.length],
    created_at: now - 600, expiry_at: now + (n + 1) * 1_800, expiry_min: 30 * (n + 1),
    ...(n % 4 && { made_by: ["demo", "night-shift", "kiosk"][n % 3] }),
  }));
  instead.set("/1.0/shares", (route) => route.fulfill(answered(metadata)));
  await go("#/agents");
  await go("#/shares");
  await rows.nth(9).waitFor();
  await rows.filter({ hasText: "an operator" }).first().waitFor();
  await look("shares");
  const shown = await rows.count();
  if (shown > 100) throw new Error(`${shown} rows are in the page`);
  equal(await page.locator("table.all-shares").getAttribute("aria-rowcount"), "401");
  // The row that ends last can be reached.
  await page.locator("console-all-shares .scroll").evaluate((it) => (it.scrollTop = it.scrollHeight));
  await page.locator(`tr[data-id="${metadata.at(-1).id}"]`).waitFor();
  instead.delete("/1.0/shares");
  await go("#/agents");
}
