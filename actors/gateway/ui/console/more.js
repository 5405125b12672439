// On a phone: what the bar at the bottom has no room for.

import { make } from "./dom.js";
import { bar, holder, links } from "./frame.js";
import { say } from "./texts.js";

class More extends HTMLElement {
  connectedCallback() {
    this.replaceChildren(bar(say("more")), make("div", { class: "scroll more" },
      make("nav", { "aria-label": say("more") }, links().slice(2).map(({ name, href }) =>
        make("a", { href }, say(name)))),
      holder()));
  }

  arrive() {}
}

customElements.define("console-more", More);
