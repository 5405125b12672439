// What operators may change while gateways run.

import { ask, may } from "./account.js";
import { make, write } from "./dom.js";
import { bar } from "./frame.js";
import { follow } from "./live.js";
import { complain, complaintBox, notice } from "./notice.js";
import { say } from "./texts.js";

const EVERY_MS = 10_000;

const RANGES = {
  requests_per_second: [1, 1_000_000],
  "session.idle_time_min": [0, 10_080],
  "share.expiry_h": [1, 720],
  "share.per_session": [1, 100],
};

class Settings extends HTMLElement {
  #rows = new Map();
  #list = make("div", { class: "settings" });
  #complaint = complaintBox();
  #following;

  connectedCallback() {
    this.replaceChildren(bar(say("settings")), this.#complaint,
      make("div", { class: "scroll" }, make("p", { class: "hint" }, say("settings_hint")),
        this.#list));
    const read = async () => (await ask("GET", "config")).metadata;
    const refused = (error) => complain(this.#complaint, error);
    this.#following = follow(read, (values) => this.#show(values), refused, EVERY_MS);
  }

  disconnectedCallback() {
    this.#following.stop();
  }

  arrive() {}

  #show(values) {
    for (const [name, value] of Object.entries(values)) {
      const row = this.#rows.get(name) ?? this.#add(name);
      row.tell(value);
    }
  }

  #add(name) {
    const [least, most] = RANGES[name] ?? [];
    const key = name.replace(/\W/g, "_");
    const known = name in RANGES;
    const input = make("input", { type: "number", min: least, max: most, required: true,
      "aria-describedby": `hint-${key}`, disabled: !may("config.update") });
    const words = make("p", { class: "hint", id: `hint-${key}` });
    const trouble = complaintBox();
    const send = (value) => this.#change(name, value, trouble);
    const save = make("button", { type: "submit" }, say("save"));
    const back = make("button", { type: "button", onclick: () => send("") }, say("of_file"));
    const form = make("form", { autocomplete: "off", onfocusin: () => this.#open(form),
      onsubmit: (event) => (event.preventDefault(), send(input.value)) },
      make("label", { class: "field" }, make("span", {}, known ? say(`setting_${key}`) : name),
        input),
      words, trouble, may("config.update") && make("div", { class: "actions" }, save, back));
    this.#list.append(form);
    let last;
    const row = { tell: (value) => {
      // What is being typed stays.
      if (input.value === (last ?? "") || input.value === value) input.value = value;
      last = value;
      const range = { name, value: Number(value), least, most };
      write(words, known ? say("setting_range", range) : name);
    }, reset: (value) => (last = input.value = value) };
    this.#rows.set(name, row);
    return row;
  }

  /** Offers what can be done with the one value that somebody looks at. */
  #open(form) {
    for (const other of this.#list.children) other.classList.toggle("open", other === form);
  }

  async #change(name, value, trouble) {
    complain(trouble);
    try {
      const { metadata } = await ask("PATCH", "config", { name, value });
      this.#rows.get(name).reset(metadata[name]);
      this.#show(metadata);
      notice(say("setting_changed", { name, value: metadata[name] }));
    } catch (error) {
      complain(trouble, error);
    }
  }
}

customElements.define("console-settings", Settings);
