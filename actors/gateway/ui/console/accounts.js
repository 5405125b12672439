// The accounts. They are made, and tokens given, on the machine of a gateway only.

import { ask, forbid } from "./account.js";
import { make, mark } from "./dom.js";
import { moment } from "./format.js";
import { bar } from "./frame.js";
import { follow } from "./live.js";
import { complain, complaintBox } from "./notice.js";
import { say } from "./texts.js";

// The token may not, or the gateway is older than this.
const NOT_OFFERED = [403, 404];
const EVERY_MS = 10_000;

class Accounts extends HTMLElement {
  #body = make("tbody");
  #table;
  #complaint = complaintBox();
  #following;

  connectedCallback() {
    const names = ["name", "kind", "created", "ends", "used", "limits"];
    this.#table = make("table", { class: "accounts", hidden: true, "aria-label": say("accounts") },
      make("thead", {}, make("tr", {}, names.map((name) =>
        make("th", { scope: "col", class: name }, make("span", {}, say(`account_${name}`)))))),
      this.#body);
    this.replaceChildren(bar(say("accounts")), this.#complaint,
      make("div", { class: "scroll rows" }, this.#table,
        make("div", { class: "foot-note" }, make("p", { class: "hint" }, say("accounts_hint")),
          make("pre", { class: "code", tabindex: "0" },
            "stream-gateway account create NAME [--operator]"))));
    const read = async () => (await ask("GET", "accounts")).metadata;
    const refused = (error) => {
      if (NOT_OFFERED.includes(error.status)) forbid("account.read");
      else complain(this.#complaint, error);
    };
    this.#following = follow(read, (accounts) => this.#show(accounts), refused, EVERY_MS);
  }

  disconnectedCallback() {
    this.#following.stop();
  }

  arrive() {}

  #show(accounts) {
    this.#table.hidden = false;
    this.#body.replaceChildren(...accounts.map(row));
  }
}

function row(account) {
  const limits = [
    account.own_sessions && say("limit_own"),
    account.max_sessions !== undefined && say("limit_most", { count: account.max_sessions }),
    account.replaced_until && say("former_token"),
  ].filter(Boolean);
  const over = account.expires_at && account.expires_at * 1000 < Date.now();
  return make("tr", {},
    make("td", { class: "name", dir: "auto" }, account.name),
    make("td", { class: "kind" }, say(account.operator ? "kind_operator" : "kind_account")),
    make("td", { class: "created" }, moment(account.created_at)),
    make("td", { class: "ends", "data-label": !over && say("account_ends") },
      over ? mark("terminated", say("has_ended")) : moment(account.expires_at, say("never"))),
    make("td", { class: "used", "data-label": say("account_used") },
      moment(account.last_used_at, say("never"))),
    make("td", { class: "limits" }, limits.join(" · ")));
}

customElements.define("console-accounts", Accounts);
