// On a phone: what the bar at the bottom has no room for. Where there is a side bar it has it all, and
// the first view is shown instead.

import { make } from "./dom.js";
import { bar, holder, links } from "./frame.js";
import { address } from "./router.js";
import { say } from "./texts.js";

// As frame.css has it.
const wide = matchMedia("(min-width: 1024px)");

class More extends HTMLElement {
  connectedCallback() {
    wide.addEventListener("change", leaveWide);
    if (leaveWide()) return;
    this.replaceChildren(bar(say("more")), make("div", { class: "scroll more" },
      make("nav", { "aria-label": say("more") }, links().slice(2).map(({ name, href }) =>
        make("a", { href }, say(name)))),
      holder()));
  }

  disconnectedCallback() {
    wide.removeEventListener("change", leaveWide);
  }

  arrive() {}
}

/** Goes where there is something to see; Back does not come here again. */
function leaveWide() {
  if (wide.matches) location.replace(address("sessions"));
  return wide.matches;
}

customElements.define("console-more", More);
