// Follows the link of a share in a real browser until it streams.
//
//   node shared.mjs <link>
//
// Prints what the page shows then as a JSON object; when a step fails, says so on stderr and exits
// with 1.

import process from "node:process";

import { reach, visit, withPage } from "./page.mjs";

const [link] = process.argv.slice(2);

await withPage(async (page) => {
  await visit(page, link);
  await reach(page, "streaming");
  const end = await page.getByRole("button", { name: "End session" }).isVisible();
  const start = await page.getByRole("button", { name: "Start" }).isVisible();
  const session = await page.evaluate(() => document.documentElement.dataset.session);
  return { session, start, end };
});
