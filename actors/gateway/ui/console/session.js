// One session: the picture or why there is none, facts, shares, the document as it is.

import { ask, may } from "./account.js";
import { confirm } from "./confirm.js";
import { make, mark, write } from "./dom.js";
import { full } from "./format.js";
import { bar } from "./frame.js";
import { followSession } from "./live.js";
import { complain, complaintBox, copy, notice } from "./notice.js";
import "./picture.js";
import { address, go, here } from "./router.js";
import "./shares.js";
import { say } from "./texts.js";
import "./timeline.js";

class Session extends HTMLElement {
  keys = { Escape: ({ target }) => {
    // What was typed is not lost by it.
    if (target.matches("input, select")) target.blur();
    else go(address("sessions"));
  } };

  #id;
  #title = make("span", { dir: "auto" });
  #status = make("span", { class: "lead" });
  #cause = make("span", { class: "cause", dir: "auto" });
  #verdict = make("p", { class: "verdict" }, this.#status, this.#cause);
  #facts = make("dl", { class: "facts" });
  #document = make("pre", { class: "code", tabindex: "0" });
  #picture = document.createElement("console-picture");
  #shares;
  #timeline;
  #body = make("div", { class: "session", hidden: true }, this.#picture);
  #loading = make("p", { class: "empty" }, say("loading"));
  #complaint = complaintBox();
  #bar;
  #end;
  #following;
  #session;
  #shown;

  connectedCallback() {
    this.#id = here().id;
    this.#write();
    this.replaceChildren(this.#bar, this.#complaint, this.#loading,
      make("div", { class: "scroll" }, this.#body));
    // As wide or as narrow as it is: neither event goes up by itself.
    for (const name of ["loadedmetadata", "resize"]) {
      this.#picture.addEventListener(name, ({ target }) => this.#fit(target), true);
    }
    this.#following = followSession(this.#id, (session) => this.#show(session),
      (error) => this.#lost(error));
  }

  disconnectedCallback() {
    this.#following.stop();
  }

  /**
   * Says everything in the present language, while a picture that plays goes on; returns false
   * without one.
   */
  speak() {
    if (!this.#picture.speak()) return false;
    const before = this.#bar;
    this.#write();
    before.replaceWith(this.#bar);
    this.#shown = undefined;
    this.#show(this.#session);
    return true;
  }

  /** Makes what is around the picture. */
  #write() {
    this.#end = may("session.delete") && make("button",
      { type: "button", class: "grave", hidden: true, onclick: () => this.#ask() },
      say("end_session"));
    this.#shares = document.createElement("console-shares");
    this.#timeline = document.createElement("console-timeline");
    const back = make("a", { href: address("sessions"), class: "back" }, say("sessions"));
    const slash = make("span", { class: "slash", "aria-hidden": "true" }, "/");
    this.#bar = bar([back, slash, this.#title]);
    const copied = () => copy(this.#document.textContent, say("document_copied"));
    // Not the picture itself: one that leaves the page ends.
    while (this.#picture.nextSibling) this.#picture.nextSibling.remove();
    this.#picture.after(...[
      make("div", { class: "session-facts" }, this.#verdict, this.#facts, this.#end),
      may("session.explain") && this.#timeline,
      may("share.read") && this.#shares,
      make("details", { class: "document" },
        make("summary", {}, say("document")),
        make("button", { type: "button", onclick: copied }, say("copy_document")),
        this.#document),
    ].filter(Boolean));
  }

  #fit({ videoWidth: width, videoHeight: height }) {
    if (width && height) this.#picture.style.setProperty("--ratio", width / height);
  }

  #show(session) {
    this.#session = session;
    this.#loading.hidden = true;
    this.#body.hidden = false;
    const text = JSON.stringify(session, undefined, 2);
    if (text === this.#shown) return;
    this.#shown = text;
    write(this.#title, session.app);
    document.title = `${session.app} – Stream`;
    this.#status.replaceChildren(mark(session.status, say(`status_${session.status}`)));
    this.#verdict.dataset.status = session.status;
    write(this.#cause, session.status_message);
    this.#facts.replaceChildren(...facts(session));
    write(this.#document, text);
    this.#picture.session = session;
    this.#shares.session = session;
    this.#timeline.session = session;
    if (this.#end) this.#end.hidden = session.status === "terminated";
  }

  #lost(error) {
    this.#loading.hidden = this.#shown !== undefined;
    const gone = error.status === 404;
    write(this.#loading, gone ? say("session_gone", { id: this.#id }) : error.message);
    if (gone && !this.#shown) write(this.#title, this.#id);
    if (!gone || !this.#shown) return;
    // What was known of it stays in sight.
    this.#show({ ...JSON.parse(this.#shown), status: "terminated", status_message: say("over") });
  }

  async #ask() {
    const app = this.#title.textContent;
    const yes = await confirm({
      question: say("end_sessions_question", { count: 1 }),
      lines: [`${app} (${this.#id})`, say("end_is_final")],
      verb: say("end_session"),
    });
    if (!yes) return;
    complain(this.#complaint);
    try {
      this.#end.disabled = true;
      await ask("DELETE", `sessions/${encodeURIComponent(this.#id)}`);
      notice(say("sessions_end", { count: 1 }));
      this.#following.again();
    } catch (error) {
      complain(this.#complaint, error);
    } finally {
      this.#end.disabled = false;
    }
  }
}

function facts(session) {
  const rows = [
    ["column_id", code(session.id)],
    ["column_region", session.region || "–"],
    ["column_agent", session.agent],
    ["made", session.created_at === undefined ? undefined : full(session.created_at)],
    ["instance", session.container_id ? code(session.container_id) : say("none_yet")],
    ["cluster", session.cluster_id ? code(session.cluster_id) : "–"],
    ["joinable", say(session.joinable ? "yes_joinable" : "no_joinable")],
  ];
  return rows.filter(([, value]) => value !== undefined)
    .flatMap(([name, value]) => [make("dt", {}, say(name)), make("dd", {}, value)]);
}

function code(text) {
  return make("code", {}, text);
}

customElements.define("console-session", Session);
