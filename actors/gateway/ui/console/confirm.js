// Asks once before something ends. Neither button is a default: Enter alone does nothing.

import { make } from "./dom.js";
import { say } from "./texts.js";

/** Asks `question`, with `lines` that name what is hit; returns whether `verb` was chosen. */
export function confirm({ question, lines = [], verb }) {
  return new Promise((decide) => {
    let yes = false;
    const choose = (answer) => () => {
      yes = answer;
      dialog.close();
    };
    const head = make("h2", { id: "question", tabindex: "-1", autofocus: true }, question);
    const said = make("div", { id: "hit" }, lines.map((line) => make("p", {}, line)));
    const keep = make("button", { type: "button", onclick: choose(false) }, say("leave_it"));
    const act = make("button", { type: "button", class: "grave", onclick: choose(true) }, verb);
    const dialog = make(
      "dialog",
      { "aria-labelledby": "question", "aria-describedby": "hit" },
      head, said, make("div", { class: "actions" }, keep, act),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      decide(yes);
    });
    document.body.append(dialog);
    dialog.showModal();
    // Not on a button, where the browser would put it.
    head.focus();
  });
}
