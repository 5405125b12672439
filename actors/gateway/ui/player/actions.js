// What the buttons of the bar do.

import { make, set, write } from "../console/dom.js";
import { screenFor } from "./coordinates.js";
import { BACK, VOLUME_DOWN, VOLUME_UP } from "./keys.js";
import { canBeFull, canBeInPicture, screenshot, toggleFull, toggleInPicture } from "./picture.js";
import { say } from "./texts.js";

/** Puts the buttons of `player` on its bar, those that its host and its role leave. */
export function fillBar(player) {
  const { bar, host, video } = player;
  bar.clear();
  if (player.controls) addControls(player);
  const add = (name, act, options) => bar.add(name, () => attempt(player, act), options);
  add("rotate", () => player.turn((player.turns + 1) % 4));
  if (player.controls && host.fits) add("fit", () => player.again(wantedScreen(player)));
  add("screenshot", () => screenshot(video, player.turns));
  if (canBeInPicture()) add("in_picture", () => toggleInPicture(video));
  add("statistics", () => toggleStatistics(player), { pressed: false });
  add("sound_on", () => player.mute(!video.muted));
  bar.append(make("input", { type: "range", min: "0", max: "1", step: "0.05", value: "1",
    class: "loudness", oninput: ({ target }) => {
      video.volume = Number(target.value);
      player.mute(video.volume === 0);
    } }), "loudness");
  if (canBeFull(video)) add("full_screen", () => toggleFull(player, video));
  if (host.leave) add("leave", host.leave);
  if (host.end) add("end", () => askToEnd(player), { grave: true });
}

function addControls(player) {
  const { bar, control, keyboard, devices } = player;
  const add = (name, act, options) => bar.add(name, () => attempt(player, act), options);
  add("back", () => control.tap(BACK));
  add("volume_down", () => control.tap(VOLUME_DOWN));
  add("volume_up", () => control.tap(VOLUME_UP));
  add("keyboard", () => (keyboard.captured ? keyboard.release() : player.capture()),
    { pressed: false });
  // The focus stays where it is, so that the keyboard can be given back by its button.
  bar.element.lastChild.addEventListener("pointerdown", (event) => event.preventDefault());
  bar.element.lastChild.addEventListener("mousedown", (event) => event.preventDefault());
  add("text", () => toggleComposer(player), { pressed: false });
  add("paste", () => paste(player));
  add("gamepad", async () => player.toggleGamepads((await import("./gamepad.js")).forwardGamepads),
    { pressed: false });
  bar.offer("gamepad", false);
  if ("requestPointerLock" in player.surface && matchMedia("(pointer: fine)").matches) {
    add("pointer", () => player.pointers?.lock(), { pressed: false });
  }
  for (const name of ["microphone", "camera"]) {
    const toggle = () => (devices.isOn(name) ? devices.turnOff(name) : devices.turnOn(name));
    add(name, toggle, { pressed: false });
  }
}

function askToEnd(player) {
  player.bar.open(false);
  player.requests.ask(say("end_question"), [[say("end"), player.host.end], [say("end_not"), () => {}]]);
}

/** Nothing that fails here ends a stream: it is said, and that is all. */
async function attempt(player, act) {
  try {
    await act();
  } catch (error) {
    player.tell(say("not_done", { reason: error.message }));
  }
}

async function paste(player) {
  try {
    player.control.write(await navigator.clipboard.readText());
    player.tell(say("pasted"));
  } catch {
    player.tell(say("paste_refused"));
  }
}

/** Opens a line for text that is sent at once, as phones and dictation like it. */
function toggleComposer(player) {
  const open = player.querySelector(".composer");
  player.bar.press("text", !open);
  if (open) return open.remove();
  const field = make("textarea", { rows: "2", dir: "auto" });
  const form = make("form", { class: "composer", onsubmit: (event) => {
    event.preventDefault();
    player.control.write(field.value);
    field.value = "";
    field.focus();
  }, onkeydown: (event) => {
    if (event.key === "Escape") {
      event.preventDefault();
      toggleComposer(player);
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  } }, field, make("button", { type: "submit", class: "primary" }));
  callComposer(form);
  player.bar.open(false);
  player.append(form);
  field.focus();
}

/** Calls what is in the line for text by its name. */
export function callComposer(form) {
  set(form.querySelector("textarea"), "aria-label", say("text"));
  write(form.querySelector("button"), say("send"));
}

async function toggleStatistics(player) {
  const open = player.querySelector("stream-statistics");
  player.bar.press("statistics", !open);
  if (open) return open.remove();
  await import("./statistics_panel.js");
  const panel = document.createElement("stream-statistics");
  panel.source = {
    statistics: () => player.statistics(),
    get times() {
      return player.times;
    },
    tell: (words) => player.tell(words),
    close: () => toggleStatistics(player),
  };
  player.bar.open(false);
  player.append(panel);
}

function wantedScreen(player) {
  const box = player.surface.getBoundingClientRect();
  return { ...screenFor(box, devicePixelRatio), fps: 30, density: Math.round(160 * devicePixelRatio) };
}
