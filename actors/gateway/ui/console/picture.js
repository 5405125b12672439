// The picture of a session, by the player. It joins only when somebody asks for it: who joins takes
// the place of whoever was there.

import { Api } from "../api.js";
import { attenuate } from "../attenuate.js";
import { joinSession, sessionNow } from "../player/join.js";
import "../player/player.js";
import { may, tokenForPlayer } from "./account.js";
import { make, write } from "./dom.js";
import { complain, complaintBox } from "./notice.js";
import { say } from "./texts.js";
import { read } from "./token.js";

const VIEW_ONLY = ["declared role view"];

class Picture extends HTMLElement {
  #session;
  #words = make("p", { class: "why", tabindex: "-1" });
  #step = make("p", { class: "step", role: "status" });
  #offer = make("div", { class: "offer" });
  #box = make("div", { class: "why-box" }, this.#words, this.#offer);
  #player = make("stream-player", { hidden: true });
  #stage = make("div", { class: "stage" }, this.#box, this.#player);
  #complaint = complaintBox();

  connectedCallback() {
    this.replaceChildren(this.#stage, make("div", { class: "under" }, this.#step), this.#complaint);
    this.#player.addEventListener("state", ({ detail }) => this.#follow(detail));
  }

  disconnectedCallback() {
    this.#player.stop();
  }

  set session(session) {
    const changed = session.status !== this.#session?.status;
    this.#session = session;
    if (!changed || !this.isConnected) return;
    if (this.#playing && session.status !== "active") this.#leave();
    if (!this.#playing) this.#explain();
  }

  /** Says everything in the present language; a picture that plays goes on. Returns whether one does. */
  speak() {
    if (!this.#playing) return false;
    this.#player.speak();
    if (this.#player.dataset.state === "playing") this.#follow({ state: "playing" });
    return true;
  }

  get #playing() {
    return !this.#player.hidden;
  }

  /** Says why there is no picture, or offers it. */
  #explain() {
    const { status, joinable } = this.#session;
    const active = status === "active" && may("session.join");
    write(this.#words, say(active ? (joinable ? "picture_offer" : "picture_first") :
      status === "active" ? "picture_forbidden" : `picture_${status}`));
    const control = () => this.#join("control");
    const watch = () => this.#join("view");
    this.#offer.replaceChildren(...(active ? [
      make("button", { type: "button", class: "primary", onclick: control }, say("take_control")),
      make("button", { type: "button", onclick: watch }, say("watch_only")),
    ] : []));
  }

  async #join(role) {
    complain(this.#complaint);
    const { id, joinable } = this.#session;
    // One that is narrowed to watch is not the console's.
    const token = tokenForPlayer();
    const api = new Api(role === "view" ? await attenuate(token, VIEW_ONLY) : token);
    if (!this.isConnected) return;
    const chosen = this.contains(document.activeElement);
    this.#box.hidden = true;
    this.#player.hidden = false;
    // The button that was pressed is gone.
    if (chosen) this.#player.surface.focus({ preventScroll: true });
    this.#stage.classList.add("plays");
    this.#player.play({
      role,
      relayOnly: false,
      fits: joinable,
      join: (wanted) => joinSession(api, id, wanted),
      session: () => sessionNow(api, id),
      leave: () => this.#leave(),
      takeOver: role === "view" && read(token).role !== "view" && (() => this.#join("control")),
      choices: () => [[say("leave"), () => this.#leave()]],
    });
  }

  #follow({ state }) {
    const role = this.#player.dataset.role === "control" ? "controlling" : "watching";
    // The player itself says everything else.
    write(this.#step, state === "playing" ? say(role) : "");
  }

  #leave() {
    const within = this.#player.contains(document.activeElement);
    this.#player.stop();
    this.#player.hidden = true;
    this.#box.hidden = false;
    this.#stage.classList.remove("plays");
    write(this.#step, "");
    this.#explain();
    if (within) (this.#offer.firstChild ?? this.#words).focus({ preventScroll: true });
  }
}

customElements.define("console-picture", Picture);
