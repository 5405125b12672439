// Puts the page together: signs in, and shows the view that the address names.

import { account, isSignedIn, may, signInAgain } from "./account.js";
import { make } from "./dom.js";
import { sidebar } from "./frame.js";
import { listen } from "./keyboard.js";
import "./more.js";
import { noticePlace } from "./notice.js";
import { here, router } from "./router.js";
import "./sessions.js";
import "./sign_in.js";
import { current, say } from "./texts.js";

const VIEWS = {
  sessions: { tag: "console-sessions", one: "console-session", operation: "session.read" },
  agents: { tag: "console-agents", operation: "agent.read" },
  relays: { tag: "console-relays", operation: "relay.read" },
  accounts: { tag: "console-accounts", operation: "account.read" },
  shares: { tag: "console-all-shares", operation: "share.read" },
  figures: { tag: "console-figures", operation: "status.read" },
  settings: { tag: "console-settings", operation: "config.read" },
  more: { tag: "console-more" },
};

// What the first view does without: modules, and the styles that they need. An element that is in
// the page already becomes what it is to be when its module comes.
const LATER = [
  [() => import("./session.js"), "console/session.css", "console/timeline.css", "player/player.css"],
  [() => import("./agents.js"), "console/agents.css"],
  [() => import("./relays.js"), "console/relays.css"],
  [() => import("./accounts.js"), "console/accounts.css"],
  [() => import("./all_shares.js"), "console/all_shares.css"],
  [() => import("./figures.js"), "console/figures.css"],
  [() => import("./settings.js")],
];

const TRY_AGAIN_MS = 1_000;

let main;
let shown;
let view;

function build(reason) {
  document.documentElement.lang = current();
  document.title = say("console_title");
  shown = view = main = undefined;
  if (!isSignedIn()) {
    const form = document.createElement("console-sign-in");
    form.reason = reason;
    return document.body.replaceChildren(form, noticePlace());
  }
  main = make("main", { id: "view", tabindex: "-1" });
  const skip = make("a", { class: "skip", href: "#view", onclick: (event) => {
    // The part behind the # is the view's address.
    event.preventDefault();
    main.focus();
  } }, say("skip"));
  const frame = make("div", { class: "frame" }, make("div"), main);
  document.body.replaceChildren(skip, frame, noticePlace());
  show();
  for (const [load, ...styles] of LATER.splice(0)) fetchView(load, styles);
}

function show() {
  if (!isSignedIn()) return;
  const { view: name, id } = here();
  const known = VIEWS[name] ?? VIEWS.sessions;
  const offered = !known.operation || may(known.operation) ? known : VIEWS.sessions;
  const one = id && offered.one;
  const key = one ? `${one} ${id}` : offered.tag;
  const place = Object.keys(VIEWS).find((word) => VIEWS[word] === offered);
  if (key === shown) return view.arrive?.();
  const first = shown === undefined;
  shown = key;
  document.title = `${say(place)} – Stream`;
  view = document.createElement(one || offered.tag);
  main.previousSibling.replaceWith(sidebar(place));
  main.replaceChildren(view);
  // Whoever listens to the page hears that it is another one.
  if (!first && !main.contains(document.activeElement)) main.querySelector("h1")?.focus();
}

/** Fetches a module after its styles; a gateway that is away is asked again. */
async function fetchView(load, styles) {
  try {
    await Promise.all(styles.map(fetchStyle));
    await load();
  } catch (error) {
    console.warn(error.message);
    setTimeout(fetchView, TRY_AGAIN_MS, load, styles);
  }
}

function fetchStyle(href) {
  const link = document.head.querySelector(`link[href="${href}"]`) ??
    make("link", { rel: "stylesheet", href });
  if (link.sheet) return undefined;
  return new Promise((done, refused) => {
    link.onload = done;
    link.onerror = () => (link.remove(), refused(new Error(`${href} has not come`)));
    document.head.append(link);
  });
}

account.addEventListener("change", ({ detail }) => build(detail.reason));
document.addEventListener("language", () => {
  // What plays is not ended by it.
  if (!view?.speak?.()) return build();
  document.documentElement.lang = current();
  main.previousSibling.replaceWith(sidebar("sessions"));
});
router.addEventListener("change", show);
listen(() => main?.firstElementChild);
signInAgain();
build();
