// One hand on the keyboard. A view offers what its keys do as `keys`, an object of functions by key;
// one that returns false has done nothing.

import { make } from "./dom.js";
import { say } from "./texts.js";

const LIST = () => [
  ["/", "key_filter"],
  ["n", "key_new"],
  ["j k", "key_rows"],
  [say("space"), "key_select"],
  ["Enter", "key_open"],
  ["Esc", "key_close"],
  ["?", "key_help"],
];

/** Has keys do what the view that `present` returns offers. */
export function listen(present) {
  addEventListener("keydown", (event) => {
    const { key, ctrlKey, altKey, metaKey, target, defaultPrevented } = event;
    const others = defaultPrevented || ctrlKey || altKey || metaKey;
    if (others || document.querySelector("dialog[open]")) return;
    // Letters in a field are the field's.
    const types = target.matches("input:not([type=checkbox], [type=radio]), textarea, select");
    if (types && key !== "Escape") return;
    const act = key === "?" ? showKeys : present()?.keys?.[key];
    if (!act || act(event) === false) return;
    event.preventDefault();
  });
}

/** Shows what the keys do. */
export function showKeys() {
  const rows = LIST().map(([keys, text]) => {
    const caps = keys.split(" ").map((key) => make("kbd", {}, key));
    return [make("dt", {}, caps), make("dd", {}, say(text))];
  });
  const close = make("button", { type: "button", onclick: () => dialog.close() }, say("close"));
  const dialog = make("dialog", { "aria-labelledby": "keys" },
    make("h2", { id: "keys" }, say("keys")),
    make("dl", { class: "keys" }, rows),
    make("div", { class: "actions" }, close));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
