// Wires the page: what the link or a person asks for, the session at the gateway, its player.

import { Api } from "./api.js";
import { read } from "./console/token.js";
import { joinSession, sessionNow } from "./player/join.js";
import "./player/player.js";
import { current, say } from "./player/texts.js";

const SCREENS = [[1280, 720], [720, 1280], [1920, 1080], [1080, 1920]];

const root = document.documentElement;
const at = (id) => document.getElementById(id);
const player = at("player");

// What is known, in memory only. The gateway's interface appears once there is a token.
let api;
// Whether the token is that of a shared session, which opens it and nothing else.
let shared = false;
let role = "control";
let wishes = {};
// What a link asks for, until somebody has agreed.
let offered;
let session;

/** Shows where things stand; `words` go to the status line, `error` below it. */
function enter(state, words, error) {
  root.dataset.state = state;
  if (session) root.dataset.session = session;
  else delete root.dataset.session;
  at("status").textContent = words;
  at("error").textContent = error ?? "";
  at("error").hidden = !error;

  const plays = Boolean(player.dataset.state);
  root.toggleAttribute("data-stage", plays);
  player.hidden = !plays;
  const busy = plays || state === "creating" || state === "asking";
  at("token-form").hidden = busy || Boolean(api);
  at("start-form").hidden = busy || !api || shared;
  at("console").hidden = busy || shared;
}

function fail(error) {
  player.stop();
  // Another token may do: ask for one.
  if (error.status === 401) api = undefined;
  enter("failed", say("something_wrong"), error.message);
  offerAnother();
}

/** Takes the wishes out of the link, which holds the token and must not stay in view. */
function takeFragment() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  history.replaceState(null, "", location.pathname + location.search);
  return Object.fromEntries(fragment);
}

/**
 * Does what a link asks for. One with the token of an account signs its visitor in as somebody of
 * the sender's choice, so it only offers that; a stream that runs goes on meanwhile.
 */
async function follow(link) {
  if (!link.token) return begin(link);
  offered = link;
  if (!player.dataset.state) enter("asking", say("link_opened"));
  at("link-words").textContent = offer(link);
  at("link-form").hidden = false;
}

function offer({ session: id, app, start }) {
  if (id) return say("link_joins", { id });
  return app && start === "1" ? say("link_starts", { app }) : say("link_signs");
}

function decline() {
  offered = undefined;
  at("link-form").hidden = true;
  if (player.dataset.state) return;
  enter("idle", say(api ? "nothing_done" : "token_wanted"));
  if (api) offerAnother();
}

async function begin({ token, share, ...rest }) {
  offered = undefined;
  at("link-form").hidden = true;
  player.stop();
  session = undefined;
  wishes = rest;
  shared = Boolean(share) && !token;
  api = token || share ? new Api(token || share) : undefined;
  if (!api) return enter("idle", say("token_wanted"));
  role = read(token || share).role === "view" ? "view" : "control";
  await proceed();
}

async function proceed() {
  if (wishes.session) return join(wishes.session);
  if (wishes.app && wishes.start === "1") return create(wishes.app);
  enter("idle", say("applications_asked"));
  const names = await api.applications();
  listApplications(names);
  enter("idle", say(names.length ? "application_choose" : "application_none"));
}

function listApplications(names) {
  at("app").replaceChildren(...names.map((name) => new Option(name)));
  if (names.includes(wishes.app)) at("app").value = wishes.app;
}

/** Fills the list for another start; how the last one ended is on the page and stays there. */
function offerAnother() {
  if (!shared) api?.applications().then(listApplications, () => {});
}

async function create(app) {
  session = undefined;
  enter("creating", say("creating", { app }));
  const created = await api.create(app, screen());
  session = created.id;
  play(created);
}

function join(id) {
  session = id;
  play();
}

/** Plays the session, at first as the client that `created` made us, if it did. */
function play(created) {
  const [asking, id] = [api, session];
  let first = created;
  player.play({
    role,
    relayOnly: wishes.relay === "1",
    fits: true,
    join: async (wanted) => {
      const mine = first;
      first = undefined;
      return mine ?? joinSession(asking, id, wanted);
    },
    session: () => sessionNow(asking, id),
    end: shared ? undefined : () => attempt(end),
    leave: shared ? leave : undefined,
    choices: () => (shared ? [] : [[say("choose_another"), () => attempt(another)]]),
  });
  enter("signaling", say("step_joined"));
}

const STATES = { connecting: "signaling", playing: "streaming", shaky: "streaming",
  reconnecting: "signaling" };
/** Ends that are nobody's fault. */
const CALM = ["left", "replaced", "session_over", "closed"];

player.addEventListener("state", ({ detail: { state, words, cause } }) => {
  const over = CALM.includes(cause) ? "ended" : "failed";
  enter(STATES[state] ?? over, words);
});

function leave() {
  player.stop();
  enter("ended", say("left"));
}

async function another() {
  player.stop();
  session = undefined;
  wishes = { ...wishes, session: undefined, start: undefined };
  await proceed();
}

async function end() {
  at("status").textContent = say("session_ending");
  await api.remove(session);
  player.stop();
  session = undefined;
  enter("ended", say("session_ended"));
  offerAnother();
}

function screen() {
  const [width, height] = at("screen").value.split("x").map(Number);
  return { width, height, fps: 30, density: 240 };
}

/** Runs `work` for an event, with `button` out of reach meanwhile; a failure goes on the page. */
async function attempt(work, button) {
  if (button) button.disabled = true;
  try {
    await work();
  } catch (error) {
    fail(error);
  } finally {
    if (button) button.disabled = false;
  }
}

root.lang = current();
document.title = say("page_title");
for (const element of document.querySelectorAll("[data-text]")) {
  element.textContent = say(element.dataset.text);
}
at("screen").replaceChildren(...SCREENS.map(([width, height]) => new Option(
  say(width > height ? "landscape" : "portrait", { width: String(width), height: String(height) }),
  `${width}x${height}`)));

at("link-form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(() => begin(offered), event.submitter);
});
at("link-no").addEventListener("click", decline);
at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = at("token").value.trim();
  at("token").value = "";
  attempt(() => begin({ ...wishes, token }), event.submitter);
});
at("start-form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(() => create(at("app").value), event.submitter);
});
addEventListener("pageshow", ({ persisted }) => {
  if (persisted && player.dataset.state) leave();
});
addEventListener("hashchange", () => attempt(() => follow(takeFragment())));

attempt(() => follow(takeFragment()));
