// The panel that makes a session, beside the table.

import { BASE, ask } from "./account.js";
import { draw, make, set, write } from "./dom.js";
import { milliseconds } from "./format.js";
import { complain, complaintBox, copy } from "./notice.js";
import { say } from "./texts.js";

const SCREENS = [[1280, 720], [720, 1280], [1920, 1080], [1080, 1920], [1280, 800], [2560, 1440]];
const OWN = "own";
const BOX = 96;
const MOST_EXTRA_BYTES = 8_192;

class Create extends HTMLElement {
  #form;
  #complaint = complaintBox();
  #picture = make("div", { class: "screen-picture" });
  #extraWords = make("p", { class: "hint", id: "extra-words" });
  #submit;
  #regionChosen = false;

  connectedCallback() {
    const close = make("button", { type: "button", class: "plain", "aria-label": say("close"),
      onclick: () => this.#tell("closed") }, "✕");
    this.#submit = make("button", { type: "submit", class: "primary" }, say("create_session"));
    const curl = make("button", { type: "button", onclick: () => this.#copy() }, say("copy_curl"));
    this.#form = make("form", { autocomplete: "off", oninput: () => this.#follow(),
      onsubmit: (event) => (event.preventDefault(), this.#create()) },
      field(say("column_app"), make("select", { name: "app", required: true })),
      field(say("column_region"), make("select", { name: "region",
        onchange: () => (this.#regionChosen = true) },
        make("option", { value: "" }, say("any_region")))),
      this.#screen(),
      make("details", {}, make("summary", {}, say("more")), this.#more()),
      this.#complaint,
      make("div", { class: "actions" }, curl, this.#submit));
    this.replaceChildren(
      make("div", { class: "panel-head" }, make("h2", {}, say("new_session")), close), this.#form);
    this.#follow();
    this.#form.elements.app.focus();
    this.#fetch();
  }

  #screen() {
    const presets = SCREENS.map(([width, height]) =>
      make("option", { value: `${width}x${height}` }, `${width} × ${height}`));
    const own = make("option", { value: OWN }, say("screen_own"));
    const figure = (name, value, least, most) => field(say(name), make("input",
      { name, type: "number", min: least, max: most, value, required: true }));
    return make("fieldset", {}, make("legend", {}, say("screen")),
      make("div", { class: "screen" },
        make("div", {},
          field(say("size"), make("select", { name: "preset" }, presets, own)),
          make("div", { class: "pair own", hidden: true },
            figure("width", 1280, 1, 3840), figure("height", 720, 1, 3840))),
        this.#picture),
      make("div", { class: "pair" },
        figure("fps", 60, 1, 240), figure("density", 240, 72, 10_000)));
  }

  #more() {
    return [
      field(say("version"), make("input", { name: "version", inputmode: "numeric",
        pattern: "[0-9]*", placeholder: say("latest") })),
      make("label", { class: "check" }, make("input", { type: "checkbox", name: "joinable",
        checked: true }), make("span", {}, say("joinable_words"))),
      field(say("idle_time"), make("input", { name: "idle", type: "number", min: 0, max: 10_080,
        placeholder: say("as_configured") }), say("idle_hint")),
      field(say("extra_data"), make("textarea", { name: "extra", rows: 4, class: "code",
        spellcheck: "false", dir: "ltr", "aria-describedby": "extra-words" })),
      this.#extraWords,
    ];
  }

  async #fetch() {
    try {
      const lists = ["applications", "regions"].map((path) => ask("GET", path));
      const [applications, regions] = await Promise.all(lists);
      const option = ({ name }) => make("option", { value: name }, name);
      this.#form.elements.app.replaceChildren(...applications.metadata.map(option));
      this.#form.elements.region.append(...regions.metadata.map(option));
      this.#measure(regions.metadata);
      if (!applications.metadata.length) throw Object.assign(new Error(say("no_application")),
        { name: "Refusal" });
    } catch (error) {
      complain(this.#complaint, error);
    }
  }

  /** Says how far each region is; of several it chooses the nearest, unless somebody has chosen. */
  async #measure(regions) {
    const { region } = this.#form.elements;
    const { roundTrip } = await import("./distance.js");
    const measure = async ({ name, stun_servers: urls }) =>
      ({ name, took: urls && (await roundTrip(urls)) });
    const measured = await Promise.all(regions.map(measure));
    const known = measured.filter(({ took }) => took !== undefined);
    for (const { name, took } of known) {
      const option = [...region.options].find(({ value }) => value === name);
      write(option, say("region_and_time", { name, time: milliseconds(took * 1_000) }));
    }
    if (regions.length > 1 && known.length && !region.value && !this.#regionChosen) {
      region.value = known.reduce((one, other) => (other.took < one.took ? other : one)).name;
    }
  }

  /** Keeps the drawing and the words about the JSON true to what is typed. */
  #follow() {
    const { preset, width, height, extra } = this.#form.elements;
    const own = preset.value === OWN;
    this.#form.querySelector(".own").hidden = !own;
    if (!own) [width.value, height.value] = preset.value.split("x");
    // Fields that are hidden must not keep the form from being sent.
    width.disabled = height.disabled = !own;
    this.#drawScreen(Number(width.value), Number(height.value));
    const trouble = extraTrouble(extra.value);
    extra.setCustomValidity(trouble ?? "");
    set(extra, "aria-invalid", Boolean(trouble) && "true");
    write(this.#extraWords, trouble ?? say("extra_hint"));
    this.#extraWords.classList.toggle("bad", Boolean(trouble));
  }

  #drawScreen(width, height) {
    const scale = BOX / Math.max(width, height, 1);
    const [w, h] = [Math.max(width * scale, 2), Math.max(height * scale, 2)];
    const frame = { x: (BOX - w) / 2 + 1, y: (BOX - h) / 2 + 1, width: w, height: h, rx: 3 };
    const words = make("span", { class: "muted" }, `${width} × ${height}`);
    this.#picture.replaceChildren(
      draw(`0 0 ${BOX + 2} ${BOX + 2}`, "screen-drawing", ["rect", frame]), words);
  }

  /** Returns the request that the form asks for; what is as usual is left out. */
  #request() {
    const { app, region, version, width, height, fps, density, joinable, idle, extra } =
      this.#form.elements;
    const screen = {
      width: Number(width.value), height: Number(height.value),
      fps: Number(fps.value), density: Number(density.value),
    };
    return {
      app: app.value,
      ...(version.value && { app_version: Number(version.value) }),
      ...(region.value && { region: region.value }),
      screen,
      joinable: joinable.checked,
      ...(idle.value && { idle_time_min: Number(idle.value) }),
      ...(extra.value.trim() && { extra_data: JSON.parse(extra.value) }),
    };
  }

  async #create() {
    complain(this.#complaint);
    this.#submit.disabled = true;
    try {
      // Its key has a second try find the session of the first.
      const key = { "Idempotency-Key": crypto.randomUUID() };
      const { metadata } = await ask("POST", "sessions", this.#request(), key);
      this.#tell("created", metadata);
    } catch (error) {
      complain(this.#complaint, error);
      this.#complaint.scrollIntoView({ block: "nearest" });
    } finally {
      this.#submit.disabled = false;
    }
  }

  #copy() {
    if (!this.#form.reportValidity()) return;
    const body = JSON.stringify(this.#request()).replace(/'/g, `'\\''`);
    const words = [
      `curl -X POST '${new URL("1.0/sessions", BASE)}'`,
      '-H "Authorization: Macaroon root=$STREAM_TOKEN"',
      "-H 'Content-Type: application/json'",
      `-d '${body}'`,
    ];
    copy(words.join(" \\\n  "), say("curl_copied"));
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true }));
  }
}

function field(label, control, hint) {
  return make("label", { class: "field" }, make("span", {}, label), control,
    hint && make("span", { class: "hint" }, hint));
}

function extraTrouble(text) {
  if (!text.trim()) return undefined;
  try {
    const bytes = new TextEncoder().encode(JSON.stringify(JSON.parse(text))).length;
    return bytes > MOST_EXTRA_BYTES ? say("extra_long", { most: MOST_EXTRA_BYTES }) : undefined;
  } catch (error) {
    return brokenJson(error.message, text);
  }
}

/** Where the browser says it, in whatever words: those are its own language. */
function brokenJson(said, text) {
  const [, line, column] = /line (\d+) column (\d+)/.exec(said) ?? [];
  if (line) return say("extra_wrong_at", { line: Number(line), column: Number(column) });
  const [, position] = /position (\d+)/.exec(said) ?? [];
  if (position === undefined) return say("extra_wrong");
  const before = text.slice(0, Number(position)).split("\n");
  return say("extra_wrong_at", { line: before.length, column: before.at(-1).length + 1 });
}

customElements.define("console-create", Create);
