// What is around every view: where one can go, how fresh it is, who is signed in.

import { isSignedIn, may, name, signOut } from "./account.js";
import { make, set, shape, write } from "./dom.js";
import { clock, number } from "./format.js";
import { showKeys } from "./keyboard.js";
import { connection } from "./live.js";
import { address } from "./router.js";
import { LANGUAGES, current, say, speak } from "./texts.js";

const VIEWS = [
  ["sessions", "session.read"],
  ["agents", "agent.read"],
  ["relays", "relay.read"],
  ["accounts", "account.read"],
  ["shares", "share.read"],
  ["figures", "status.read"],
  ["settings", "config.read"],
];

/** The views that the token opens. */
export function links() {
  return VIEWS.filter(([, operation]) => may(operation))
    .map(([view]) => ({ name: view, href: address(view) }));
}

/** Returns the head of a view: its title, what belongs to it, and how fresh it is. */
export function bar(title, ...tools) {
  return make("header", { class: "bar" }, make("h1", { tabindex: "-1" }, title), tools,
    document.createElement("console-live"));
}

/** Returns the bar of all views, with `view` as the present one. */
export function sidebar(view) {
  const link = ({ name: of, href }) => make("a", { href, class: of, "aria-current":
    of === view && "page" }, say(of));
  const shown = links();
  const more = make("a", { href: address("more"), class: "phone-only",
    "aria-current": !shown.slice(0, 2).some((one) => one.name === view) && "page" }, say("more"));
  return make("header", { class: "sidebar" },
    make("p", { class: "brand" }, "Stream"),
    make("nav", { "aria-label": say("views") }, shown.map(link), more),
    holder());
}

/** Returns what belongs to whoever is signed in. */
export function holder() {
  return make("div", { class: "holder" },
    make("p", { class: "who", dir: "auto", title: say("signed_in_as") }, name()),
    make("button", { type: "button", class: "plain keys-button", onclick: showKeys }, say("keys")),
    // Not instead of the console, which would forget its token.
    make("a", { href: "./", class: "button plain", target: "_blank" }, say("player")),
    languageSwitch(),
    make("button", { type: "button", class: "plain", onclick: () => signOut() }, say("sign_out")));
}

/** Returns a switch between the languages. */
export function languageSwitch() {
  const options = Object.entries(LANGUAGES).map(([code, own]) =>
    make("option", { value: code, lang: code, selected: code === current() }, own));
  const change = () => {
    speak(select.value);
    document.dispatchEvent(new Event("language"));
  };
  const words = { "aria-label": say("language"), class: "language", onchange: change };
  const select = make("select", words, options);
  return select;
}

/** Tells how fresh the view is. */
class Live extends HTMLElement {
  #tick;
  #change = () => this.#show();

  connectedCallback() {
    this.setAttribute("role", "status");
    connection.addEventListener("change", this.#change);
    this.#show();
  }

  disconnectedCallback() {
    connection.removeEventListener("change", this.#change);
    clearInterval(this.#tick);
  }

  #show() {
    const { state, since, retryAt } = connection;
    clearInterval(this.#tick);
    const left = Math.max(Math.ceil((retryAt - Date.now()) / 1000), 0);
    const words = {
      live: () => say("live"),
      reconnecting: () => say("reconnecting", { span: `${number(left)} s` }),
      stale: () => say("stale", { time: clock(since) }),
    };
    if (!this.firstChild) this.append(make("span", { class: "live-shape" }), make("span"));
    // Not again while it counts: whoever listens is told of each change once.
    set(this, "aria-live", state === this.dataset.state ? "off" : "polite");
    this.dataset.state = state;
    const shapes = { live: "active", reconnecting: "draining", stale: "error" };
    this.firstChild.replaceChildren(shape(shapes[state]));
    write(this.lastChild, words[state]());
    document.documentElement.toggleAttribute("data-stale", state === "stale" && isSignedIn());
    if (state !== "live") this.#tick = setInterval(this.#change, 1_000);
  }
}

customElements.define("console-live", Live);
