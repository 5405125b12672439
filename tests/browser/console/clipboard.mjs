// What the console copies.

import { look, page, role, sees } from "./page.mjs";

/**
 * Has `act` copy something that the browser does not let it, and has `judge` look at what is to be
 * copied by hand; looks at that question as `view`, if it has a name.
 */
export async function copies(act, judge, view) {
  await page.context().clearPermissions();
  await page.evaluate(() => {
    navigator.clipboard.writeText = () => Promise.reject(new Error("refused"));
  });
  await act();
  const area = page.locator("dialog textarea");
  await area.waitFor();
  judge(await area.inputValue());
  if (view) await look(view);
  await role("button", "Close").last().click();
  await page.evaluate(() => {
    delete navigator.clipboard.writeText;
  });
}

/** Has `act` copy something, of which the page says `words`; returns what is in the clipboard. */
export async function readsClipboard(act, words) {
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await act();
  await sees(words);
  const text = await page.evaluate(() => navigator.clipboard.readText());
  await page.context().clearPermissions();
  return text;
}
