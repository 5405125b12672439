// The picture of a session, by the player's own modules. It joins only when somebody asks for it:
// who joins takes the place of whoever was there.

import { attenuate } from "../attenuate.js";
import { forwardTouches } from "../control.js";
import { Stream } from "../stream.js";
import { BASE, may, tokenForPlayer } from "./account.js";
import { make, write } from "./dom.js";
import { complain, complaintBox } from "./notice.js";
import { say } from "./texts.js";

const VIEW_ONLY = ["declared role view"];

class Picture extends HTMLElement {
  #session;
  #stream;
  #stopTouches = () => {};
  #video = make("video", { autoplay: true, playsinline: true, muted: true,
    disablepictureinpicture: true, "aria-label": say("picture") });
  #words = make("p", { class: "why" });
  #step = make("p", { class: "step", role: "status" });
  #offer = make("div", { class: "offer" });
  #stage = make("div", { class: "stage" });
  #tools = make("div", { class: "actions", hidden: true });
  #sound;
  #complaint = complaintBox();

  connectedCallback() {
    // Without it the browser does not play by itself; the attribute alone does not make it so.
    this.#video.muted = true;
    this.#video.hidden = true;
    this.#sound = make("button", { type: "button", onclick: () => this.#turnSound() },
      say("sound_on"));
    const full = make("button", { type: "button",
      onclick: () => this.#stage.requestFullscreen().catch(() => {}) }, say("full_screen"));
    const leave = make("button", { type: "button", onclick: () => this.#leave() }, say("leave"));
    this.#stage.append(this.#video, make("div", { class: "why-box" }, this.#words, this.#offer));
    this.#tools.append(this.#sound, document.fullscreenEnabled ? full : "", leave);
    this.replaceChildren(this.#stage,
      make("div", { class: "under" }, this.#step, this.#tools), this.#complaint);
    this.#video.addEventListener("playing", () => this.#playing());
    addEventListener("pagehide", this.#hide);
  }

  disconnectedCallback() {
    removeEventListener("pagehide", this.#hide);
    this.#hangUp();
  }

  set session(session) {
    const changed = session.status !== this.#session?.status;
    this.#session = session;
    if (!changed || !this.isConnected) return;
    if (this.#stream && session.status !== "active") this.#hangUp();
    if (!this.#stream) this.#explain();
  }

  #hide = () => this.#stream?.disconnect();

  /** Says why there is no picture, or offers it. */
  #explain() {
    const { status, joinable } = this.#session;
    const active = status === "active" && may("session.join");
    write(this.#words, say(active ? (joinable ? "picture_offer" : "picture_first") :
      status === "active" ? "picture_forbidden" : `picture_${status}`));
    const control = () => this.#join(true);
    const watch = () => this.#join(false);
    this.#offer.replaceChildren(...(active ? [
      make("button", { type: "button", class: "primary", onclick: control }, say("take_control")),
      make("button", { type: "button", onclick: watch }, say("watch_only")),
    ] : []));
  }

  async #join(control) {
    complain(this.#complaint);
    const { id } = this.#session;
    this.#offer.replaceChildren();
    write(this.#words, say("joining"));
    try {
      const token = control ? tokenForPlayer() : await attenuate(tokenForPlayer(), VIEW_ONLY);
      const joined = await join(id, token);
      // Somebody may have gone elsewhere meanwhile.
      if (this.isConnected) this.#play(joined, control);
    } catch (error) {
      this.#hangUp();
      this.#explain();
      complain(this.#complaint, Object.assign(error, { name: "Refusal" }));
    }
  }

  #play({ url, stun_servers: stunServers }, control) {
    this.#hangUp();
    const stream = new Stream({ url, stunServers, relayOnly: false }, {
      step: () => write(this.#words, say("connecting")),
      media: (media) => (this.#video.srcObject = media),
      connected: () => this.#connected(),
      shaky: () => write(this.#step, say("shaky")),
      failed: (words) => this.#over(words),
      left: () => this.#over(say("stream_left")),
    });
    this.#stream = stream;
    // One that is out of sight does not begin to play.
    this.#video.hidden = false;
    this.#video.dataset.role = control ? "control" : "view";
    if (control) this.#stopTouches = forwardTouches(this.#video, stream.control);
  }

  #connected() {
    if (!this.#video.videoWidth) return write(this.#words, say("first_picture"));
    const words = this.#video.dataset.role === "control" ? "controlling" : "watching";
    return write(this.#step, say(words));
  }

  #playing() {
    this.#stage.classList.add("plays");
    this.#tools.hidden = false;
    this.#connected();
  }

  #over(words) {
    this.#hangUp();
    this.#explain();
    this.#complaint.textContent = words;
    this.#complaint.hidden = false;
  }

  #leave() {
    this.#stream?.disconnect();
    this.#hangUp();
    this.#explain();
  }

  #turnSound() {
    this.#video.muted = !this.#video.muted;
    write(this.#sound, say(this.#video.muted ? "sound_on" : "sound_off"));
  }

  #hangUp() {
    this.#stopTouches();
    this.#stopTouches = () => {};
    this.#stream?.close();
    this.#stream = undefined;
    this.#video.srcObject = null;
    this.#video.hidden = true;
    this.#stage.classList.remove("plays");
    this.#tools.hidden = true;
    write(this.#step, "");
    if (document.fullscreenElement) document.exitFullscreen();
  }
}

// With a token of its own: one that is narrowed to watch is not the console's.
async function join(id, token) {
  const response = await fetch(new URL(`1.0/sessions/${encodeURIComponent(id)}/join`, BASE), {
    method: "POST",
    headers: { Authorization: `Macaroon root=${token}`, "Content-Type": "application/json" },
    body: "{}",
    cache: "no-store",
  }).catch(() => {
    throw new Error(say("gateway_away"));
  });
  const envelope = await response.json().catch(() => ({}));
  if (response.ok) return envelope.metadata;
  const reason = envelope.error ?? say("no_reason");
  throw new Error(say("gateway_refused", { reason, status: String(response.status) }));
}

customElements.define("console-picture", Picture);
