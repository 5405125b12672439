// Words that come and go: what was done, and what went wrong.

import { make } from "./dom.js";
import { say } from "./texts.js";

const SHOWN_MS = 6_000;

const place = make("div", { class: "notice", role: "status", "aria-live": "polite", hidden: true });
let timer;

/** Returns the place of notices, once for the page. */
export function noticePlace() {
  return place;
}

/** Tells what was done. */
export function notice(words) {
  place.textContent = words;
  place.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => (place.hidden = true), SHOWN_MS);
}

/** Shows why something failed in `box`; without `error` nothing is wrong any more. */
export function complain(box, error) {
  if (error && error.name !== "Refusal") throw error;
  box.textContent = error?.message ?? "";
  box.hidden = !error;
}

/** Returns a box for `complain`. */
export function complaintBox() {
  return make("p", { class: "complaint", role: "alert", hidden: true });
}

/** Copies `text`; where the browser refuses, it is shown to be copied by hand. */
export async function copy(text, done) {
  try {
    await navigator.clipboard.writeText(text);
    notice(done);
  } catch {
    byHand(text);
  }
}

function byHand(text) {
  const area = make("textarea", { readonly: true, rows: 8, class: "code" });
  area.value = text;
  const close = make("button", { type: "button", onclick: () => dialog.close() }, say("close"));
  const head = make("h2", { id: "by-hand" }, say("copy_by_hand"));
  const label = make("label", {}, make("span", {}, say("clipboard_refused")), area);
  const dialog = make("dialog", { "aria-labelledby": "by-hand" }, head, label,
    make("div", { class: "actions" }, close));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  area.select();
}
