// Asks for a token.

import { signIn } from "./account.js";
import { make } from "./dom.js";
import { languageSwitch } from "./frame.js";
import { complain, complaintBox } from "./notice.js";
import { say } from "./texts.js";

class SignIn extends HTMLElement {
  /** Why somebody has to sign in again. */
  reason;

  connectedCallback() {
    const token = make("input", { type: "password", name: "token", required: true, dir: "ltr",
      autocomplete: "off", spellcheck: "false" });
    const keep = make("input", { type: "checkbox", name: "keep" });
    const trouble = complaintBox();
    const submit = make("button", { type: "submit", class: "primary" }, say("sign_in"));
    const enter = async (event) => {
      event.preventDefault();
      complain(trouble);
      submit.disabled = true;
      try {
        await signIn(token.value, keep.checked);
      } catch (error) {
        token.value = "";
        token.focus();
        complain(trouble, error);
      } finally {
        submit.disabled = false;
      }
    };
    this.replaceChildren(make("main", { id: "view", tabindex: "-1" },
      make("form", { autocomplete: "off", onsubmit: enter },
        make("h1", {}, say("console")),
        make("p", { class: "reason", role: "status", hidden: !this.reason }, this.reason),
        make("label", { class: "field" }, make("span", {}, say("token")), token),
        make("label", { class: "check" }, keep, make("span", {}, say("keep_token"))),
        trouble, submit,
        make("p", { class: "hint" }, say("token_hint")),
        make("pre", { class: "code", tabindex: "0" }, "stream-gateway account create NAME"),
        make("p", { class: "sign-in-foot" }, languageSwitch(),
          make("a", { href: "./" }, say("player"))))));
    token.focus();
  }
}

customElements.define("console-sign-in", SignIn);
