// Wires the page: what the link or a person asks for, the session at the gateway, its stream.

import { Api } from "./api.js";
import { forwardTouches } from "./control.js";
import { Stream } from "./stream.js";

const BOOT_DEADLINE_MS = 120_000;
const BOOT_POLL_MS = 1_000;

const root = document.documentElement;
const at = (id) => document.getElementById(id);
const video = at("video");

// What is known, in memory only. The gateway's interface appears once there is a token.
let api;
// Whether the token is that of a shared session, which opens it and nothing else.
let shared = false;
let wishes = {};
// What a link asks for, until somebody has agreed.
let offered;
let session;
let stream;
let stopTouches = () => {};

/** Shows where things stand; `words` go to the status line, `error` below it. */
function enter(state, words, error) {
  root.dataset.state = state;
  if (session) root.dataset.session = session;
  else delete root.dataset.session;
  at("status").textContent = words;
  at("error").textContent = error ?? "";
  at("error").hidden = !error;

  const busy = state === "creating" || state === "signaling" || state === "streaming";
  const asking = state === "asking";
  at("token-form").hidden = busy || asking || Boolean(api);
  at("start-form").hidden = busy || asking || !api || shared;
  at("console").hidden = busy || asking || shared;
  at("stage").hidden = !(state === "signaling" || state === "streaming");
  at("sound").hidden = state !== "streaming";
  at("full").hidden = state !== "streaming" || !document.fullscreenEnabled;
  at("again").hidden = busy || !api || !session;
  at("end").hidden = !api || !session || shared || state === "creating";
}

function fail(error) {
  hangUp();
  // Another token may do: ask for one.
  if (error.status === 401) api = undefined;
  enter("failed", "Something went wrong.", error.message);
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
  if (!stream) enter("asking", "A link was opened.");
  at("link-words").textContent = offer(link);
  at("link-form").hidden = false;
}

function offer({ session: id, app, start }) {
  const signs = "The link signs you in with a token that it brings along";
  if (id) return `${signs}, and joins the session ${id}.`;
  return app && start === "1" ? `${signs}, and starts a session of ${app}.` : `${signs}.`;
}

function decline() {
  offered = undefined;
  at("link-form").hidden = true;
  if (stream) return;
  enter("idle", api ? "Nothing was done." : "A token is needed.");
  if (api) offerAnother();
}

async function begin({ token, share, ...rest }) {
  offered = undefined;
  at("link-form").hidden = true;
  hangUp();
  session = undefined;
  wishes = rest;
  shared = Boolean(share) && !token;
  api = token || share ? new Api(token || share) : undefined;
  if (!api) return enter("idle", "A token is needed.");
  await proceed();
}

async function proceed() {
  if (wishes.session) return join(wishes.session);
  if (wishes.app && wishes.start === "1") return create(wishes.app);
  enter("idle", "Asking for the applications …");
  const names = await api.applications();
  listApplications(names);
  enter("idle", names.length ? "Choose an application." : "There is no application to start.");
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
  enter("creating", `Creating a session of ${app} …`);
  const created = await api.create(app, screen());
  session = created.id;
  play(created);
}

async function join(id) {
  session = id;
  enter("creating", "Joining the session …");
  await booted(id);
  const joined = await admitted(id);
  if (joined) play(joined);
}

/**
 * Joins; a viewer waits while somebody controls the session. Returns nothing when something else
 * was asked for meanwhile.
 */
async function admitted(id) {
  const asking = api;
  for (let waits = false; ; waits = true) {
    try {
      return await asking.join(id);
    } catch (error) {
      const { status, retryAfter } = error;
      // While it waits, it may also ask in the same moment as another viewer.
      const may = status === 409 || (waits && status === 429);
      if (!may || !retryAfter) throw error;
      at("status").textContent =
        "A controlling client is there. You will watch as soon as it has left …";
      await new Promise((resume) => setTimeout(resume, retryAfter * 1000));
    }
    if (api !== asking || session !== id) return undefined;
  }
}

/** Waits while the session is still being created: until then the gateway refuses to join it. */
async function booted(id) {
  const deadline = Date.now() + BOOT_DEADLINE_MS;
  while ((await api.session(id)).status === "created" && Date.now() < deadline) {
    at("status").textContent = "Waiting for the application to start …";
    await new Promise((resume) => setTimeout(resume, BOOT_POLL_MS));
  }
}

function play({ url, stun_servers: stunServers }) {
  hangUp();
  enter("signaling", "Session ready. Opening the signaling socket …");
  stream = new Stream({ url, stunServers, relayOnly: wishes.relay === "1" }, {
    step: (words) => (at("status").textContent = words),
    media: (media) => (video.srcObject = media),
    connected: () => {
      const words = video.videoWidth ? "Streaming." : "Connected. Waiting for the first picture …";
      at("status").textContent = words;
    },
    shaky: () => (at("status").textContent = "The connection is shaky …"),
    failed: (words) => fail(new Error(words)),
    left: () => {
      hangUp();
      enter("ended", "The stream was ended: by the application, or because another client joined.");
      offerAnother();
    },
  });
  stopTouches = forwardTouches(video, stream.control);
}

function hangUp() {
  stopTouches();
  stream?.close();
  stream = undefined;
  video.srcObject = null;
  if (document.fullscreenElement) document.exitFullscreen();
}

async function end() {
  at("status").textContent = "Ending the session …";
  stream?.disconnect();
  await api.remove(session);
  hangUp();
  session = undefined;
  enter("ended", "The session has ended.");
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
at("again").addEventListener("click", ({ target }) => attempt(() => join(session), target));
at("end").addEventListener("click", ({ target }) => attempt(end, target));
at("full").addEventListener("click", () => at("stage").requestFullscreen().catch(() => {}));
at("sound").addEventListener("click", () => {
  video.muted = !video.muted;
  at("sound").textContent = video.muted ? "Sound on" : "Sound off";
});
video.addEventListener("playing", () => enter("streaming", "Streaming."));
addEventListener("pagehide", () => stream?.disconnect());
addEventListener("pageshow", ({ persisted }) => {
  if (!persisted || !stream) return;
  hangUp();
  enter("ended", "The stream was left.");
});
addEventListener("hashchange", () => attempt(() => follow(takeFragment())));

attempt(() => follow(takeFragment()));
