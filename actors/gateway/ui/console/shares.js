// The shares of a session: links that let others join it.

import { ask, drawShare, may } from "./account.js";
import { make } from "./dom.js";
import { moment } from "./format.js";
import { followShares } from "./live.js";
import { complain, complaintBox, copy } from "./notice.js";
import { HOUR_S, USUAL_H, end, prolong } from "./share_actions.js";
import { say } from "./texts.js";

const LIVES_H = [1, 12, 72, 720];
const CODE_PX = 232;
const LIVE = ["created", "active"];

class Shares extends HTMLElement {
  #session;
  #list = make("ul", { class: "share-list" });
  #complaint = complaintBox();
  #following;
  #shown;
  // The QR codes that are shown, by share.
  #codes = new Map();

  set session(session) {
    const first = !this.#session;
    this.#session = session;
    const open = session.joinable && LIVE.includes(session.status);
    this.hidden = !open;
    if (first && session.joinable && this.isConnected) this.#begin();
  }

  connectedCallback() {
    this.hidden = true;
  }

  disconnectedCallback() {
    this.#following?.stop();
  }

  #begin() {
    const form = may("share.create") ? [this.#makeForm()] : [];
    this.replaceChildren(make("h2", {}, say("shares")),
      make("p", { class: "hint" }, say("shares_hint")),
      this.#list, this.#complaint, ...form);
    this.#following = followShares(this.#session.id, (shares) => this.#show(shares));
  }

  #makeForm() {
    const role = (name, checked) => make("label", { class: "check" },
      make("input", { type: "radio", name: "type", value: name, checked }),
      make("span", {}, say(`role_${name}`)));
    const lives = LIVES_H.map((hours) =>
      make("option", { value: hours, selected: hours === USUAL_H }, say(`life_${hours}`)));
    return make("form", { class: "share-form", autocomplete: "off",
      onsubmit: (event) => (event.preventDefault(), this.#make(event)) },
      make("fieldset", { class: "line" }, make("legend", {}, say("share_may")),
        role("control", true), role("view", false)),
      make("label", { class: "field" }, make("span", {}, say("share_life")),
        make("select", { name: "life" }, lives)),
      make("label", { class: "field grow" }, make("span", {}, say("description")),
        make("input", { name: "description", maxlength: 256, dir: "auto" })),
      make("button", { type: "submit" }, say("make_share")));
  }

  #show(shares) {
    const key = JSON.stringify(shares.map(({ expiry_min, ...rest }) => rest));
    if (key === this.#shown) return;
    this.#shown = key;
    this.#list.replaceChildren(...shares.map((share) => this.#row(share)));
    this.#list.hidden = shares.length === 0;
  }

  #row(share) {
    const button = (name, act, kind) =>
      make("button", { type: "button", class: kind, onclick: () => this.#try(act) }, say(name));
    return make("li", {},
      make("div", { class: "share-facts" },
        make("strong", {}, say(`role_${share.type}`)),
        share.description && make("span", { dir: "auto" }, share.description),
        make("span", { class: "muted" }, say("ends"), " ", moment(share.expiry_at))),
      make("div", { class: "actions" },
        button("copy_link", () => this.#copy(share)),
        make("button", { type: "button", "aria-expanded": String(this.#codes.has(share.id)),
          onclick: ({ target }) => this.#try(() => this.#turnCode(share, target)) }, say("qr_code")),
        may("share.update") && button("prolong", () => this.#after(prolong(share))),
        may("share.delete") && button("end_share", () => this.#after(end(share)), "grave")),
      this.#codes.get(share.id));
  }

  async #make(event) {
    const { type, life, description } = event.target.elements;
    const now = Math.floor(Date.now() / 1000);
    const wanted = { type: type.value, expiry_at: now + life.value * HOUR_S,
      ...(description.value && { description: description.value }) };
    await this.#try(async () => {
      const path = `sessions/${encodeURIComponent(this.#session.id)}/share`;
      const { metadata } = await ask("POST", path, wanted);
      description.value = "";
      this.#following.again();
      await copy(metadata.url, say("share_made"));
    });
  }

  async #copy({ id }) {
    const { metadata } = await ask("GET", `shares/${encodeURIComponent(id)}`);
    await copy(metadata.url, say("link_copied"));
  }

  /** Shows the link as a QR code, or shows it no more. */
  async #turnCode({ id }, button) {
    const row = button.closest("li");
    if (this.#codes.delete(id)) row.lastChild.remove();
    else {
      const drawing = await drawShare(id);
      const words = { alt: say("qr_code_of"), width: CODE_PX, height: CODE_PX };
      const code = make("img", { class: "qr-code", src: drawing, ...words });
      this.#codes.set(id, code);
      row.append(code);
    }
    button.setAttribute("aria-expanded", String(this.#codes.has(id)));
  }

  /** Shows what `done` has changed. */
  async #after(done) {
    await done;
    this.#following.again();
  }

  async #try(act) {
    complain(this.#complaint);
    try {
      await act();
    } catch (error) {
      complain(this.#complaint, error);
    }
  }
}

customElements.define("console-shares", Shares);
