// What a client of another origin does with a session, step by step. Each step names the section
// of the manual that it holds the stack against.

import { Client, Gateway, loudest, until } from "./plain_client.js";

// The simulated device lays its picture out on 640 by 360 units, scaled to fit.
const UNITS = { width: 640, height: 360 };
const LINES = { keys: 28, mouse: 48, gamepad: 68, text: 304, sensors: 324, position: 342 };
const BUTTONS = { camera: 92, microphone: 244, keyboard: 396, sensors: 548 };
const BUTTON_MIDDLE = 222;

/** Runs all steps; says which one it is at with `at`. */
export async function run({ url, token, app }, at) {
  const gateway = new Gateway(url, token);
  let id;
  let joined;
  let client;
  const step = async (name, work) => {
    at(name);
    await work();
  };
  const wide = { width: 1280, height: 720 };
  const tall = { width: 720, height: 1280, fps: 30, density: 320 };

  await step("Sessions: create, from another origin and with a trailing slash", async () => {
    const body = { app, region: "", screen: tall, joinable: true, idle_time_min: 5, extra_data: null };
    joined = await gateway.ask("POST", "/sessions/", body, 201);
    id = joined.id;
    equal("servers", Array.isArray(joined.stun_servers), true);
    await gateway.active(id);
  });
  await step("Signaling: version 2, a tall picture, and a tone", async () => {
    client = new Client(joined, { camera: true, microphone: true, channels: ["game"] });
    await client.shows(720, 1280);
    equal("frames a second", client.discovered.fps, 30);
    equal("capabilities", client.discovered.capabilities.includes("vhal"), true);
    const heard = await loudest(client.sound);
    if (Math.abs(heard - 500) > 20) throw new Error(`the loudest sound is at ${heard} Hz`);
  });
  await step("Control channel: keys, mouse, wheel, touch, gamepad, text, sensors, place", () =>
    input(client));
  await step("Control channel: text and its keyboard are asked for and taken back", async () => {
    press(client, "keyboard");
    await client.hears("show-ime");
    press(client, "keyboard");
    await client.hears("hide-ime");
    press(client, "sensors");
    const sensors = [];
    while (sensors.length < 3) sensors.push((await client.hears("activate-sensor")).type);
    equal("sensors", sensors.sort().join(), "acceleration,gyroscope,orientation");
    press(client, "sensors");
    await client.hears("deactivate-sensor");
  });
  await step("Control channel: the camera is asked for, sent and shown", async () => {
    const seen = place(client, 530, 300, 90, 50);
    const before = colour(client, seen);
    press(client, "camera");
    equal("facing", (await client.hears("open-camera"))["facing-mode"], "front");
    await client.sends("video");
    await until("the camera's picture", () => {
      const now = colour(client, seen);
      return now.some((value, n) => Math.abs(value - before[n]) > 24);
    });
    press(client, "camera");
    await client.hears("close-camera");
  });
  await step("Control channel: the microphone is asked for, sent and shown", async () => {
    const level = place(client, 178, 240, 60, 6);
    equal("no level", client.light(...level), 0);
    press(client, "microphone");
    equal("rate", (await client.hears("enable-microphone")).freq, 48_000);
    await client.sends("audio");
    await until("a level", () => client.light(...level) > 0.2);
  });
  await step("Control channel: properties of the vehicle, answered in order", async () => {
    await properties(client);
  });
  await step("Control channel: other channels echo text and bytes", async () => {
    await echoes(client.channels.game);
  });
  await step("Sessions: a join replaces the client and changes the picture", async () => {
    const again = await gateway.ask("POST", `/sessions/${id}/join`, { screen: wide }, 200);
    await client.gone();
    client = new Client(again);
    await client.shows(1280, 720);
    client.does("vhal::get", { prop: 291504900 });
    equal("what was set", (await client.hears("vhal-get-answer")).float_values[0], 101.5);
  });
  for (const [version, codecs] of [[2, ["VP8"]], [1, ["H264"]], [0, ["VP8"]]]) {
    await step(`Signaling: version ${version}, and ${codecs[0]} alone`, async () => {
      const again = await gateway.ask("POST", `/sessions/${id}/join`, { screen: wide, disconnect_clients: true }, 200);
      await client.gone();
      client = new Client(again, { version, codecs });
      await client.shows(1280, 720);
      const inbound = await client.statistics("inbound-rtp", ({ kind }) => kind === "video");
      const codec = await client.statistics("codec", (entry) => entry.id === inbound.codecId);
      equal("codec", codec.mimeType, `video/${codecs[0]}`);
    });
  }
  await step("Control channel: who disconnects is gone at once", async () => {
    client.leave();
    await client.gone();
  });
  await step("Shares: who views sees the picture and changes nothing", async () => {
    const share = await gateway.ask("POST", `/sessions/${id}/share`, { type: "view" }, 200);
    const shared = new URLSearchParams(new URL(share.url).hash.slice(1)).get("share");
    const connect = `${url}/1.0/sessions/${id}/connect?type=view&token=${shared}`;
    let answer;
    await until("the controlling client to be known as gone", async () => {
      answer = await fetch(connect);
      return answer.status !== 409;
    });
    equal("connect", answer.status, 200);
    client = new Client((await answer.json()).metadata);
    await client.shows(1280, 720);
    const keys = place(client, 8, LINES.keys, 200, 16);
    const before = client.light(...keys);
    client.does("input::key", { code: 4, pressed: true });
    client.does("vhal::get-all-prop-configs");
    await client.hears("vhal-prop-configs");
    equal("input", Math.abs(client.light(...keys) - before) < 0.01, true);
    client.leave();
    await client.gone();
  });
  await step("Sessions: delete", () => gateway.ask("DELETE", `/sessions/${id}`, undefined, 200));
  at("");
}

/** Watches a new session through the relay alone; its socket is closed once it streams. */
export async function watch({ url, token, app, seconds }, at) {
  const gateway = new Gateway(url, token);
  const screen = { width: 640, height: 360, fps: 30 };
  const joined = await gateway.ask("POST", "/sessions", { app, screen }, 201);
  await gateway.active(joined.id);
  const client = new Client(joined, { relay: true });
  await client.shows(640, 360);
  await until("the socket to be closed", () => client.closed);
  at(JSON.stringify({ session: joined.id, ...(await client.watch(seconds)) }));
}

async function input(client) {
  const deeds = [
    ["keys", [["input::key", { code: 4, pressed: true }], ["input::key", { code: 4, pressed: false }]]],
    ["mouse", [
      ["input::mouse-move", { rx: 3, ry: 4, x: 30, y: 40 }],
      ["input::mouse-button", { button: 1, pressed: true }],
      ["input::mouse-button", { button: 1, pressed: false }],
      ["input::mouse-wheel", { x: 0, y: -1 }],
    ]],
    ["gamepad", [
      ["input::gamepad-button", { id: 0, index: 3, pressed: true }],
      ["input::gamepad-axes", { id: 0, index: 1, value: 0.5 }],
    ]],
    ["text", [["input::ime-event", { type: 1, data: { text: "Grüße" } }]]],
    ["sensors", [["sensor:event", { sensor: "acceleration", x: 0, y: 9.81, z: 0 }]]],
    ["position", [["location::update-position", {
      time: Date.now(), latitude: 52.5, longitude: 13.4, altitude: 34, speed: 0, bearing: 0, format: "wgs84",
    }]]],
  ];
  for (const [line, messages] of deeds) {
    const band = place(client, 8, LINES[line], 300, 16);
    const before = client.light(...band);
    messages.forEach(([type, data]) => client.does(type, data));
    await until(`${line} to be seen`, () => client.light(...band) > before + 0.02);
  }
  // Ten fingers, each with a place of its own.
  const finger = (id) => ({ x: 60 + 60 * id, y: 1000 });
  for (let id = 0; id < 10; id += 1) client.does("input::touch-start", { id, ...finger(id) });
  for (let id = 0; id < 10; id += 1) {
    await until(`finger ${id}`, () => magenta(client, finger(id)));
  }
  for (let id = 0; id < 10; id += 1) client.does("input::touch-end", { id, last: id === 9 });
}

async function properties(client) {
  client.does("vhal::get-all-prop-configs");
  const configs = await client.hears("vhal-prop-configs");
  equal("properties", configs.length, 6);
  for (const config of configs) client.does("vhal::get", config);
  for (const config of configs) {
    equal("order", (await client.hears("vhal-get-answer")).prop, config.prop);
  }
  client.does("vhal::set", { prop: 291504900, area_id: 0, status: 0, float_values: [101.5] });
  equal("error", (await client.hears("vhal-set-answer")).error, undefined);
  client.does("vhal::get", { prop: 291504900 });
  equal("value", (await client.hears("vhal-get-answer")).float_values[0], 101.5);
  client.does("vhal::set", { prop: 1, int32_values: [1] });
  equal("refusal", typeof (await client.hears("vhal-set-answer")).error, "string");
}

async function echoes(channel) {
  channel.binaryType = "arraybuffer";
  await until("the channel", () => channel.readyState === "open");
  const echoed = [];
  channel.onmessage = ({ data }) => echoed.push(data);
  channel.send("jump");
  channel.send(Uint8Array.of(1, 2, 255));
  await until("the echo", () => echoed.length === 2);
  equal("text", echoed[0], "jump");
  equal("bytes", String(new Uint8Array(echoed[1])), "1,2,255");
}

/** Turns units into pixels of the client's picture. */
function place(client, x, y, width, height) {
  const { videoWidth, videoHeight } = client.video;
  const scale = Math.min(videoWidth / UNITS.width, videoHeight / UNITS.height);
  return [x, y, width, height].map((units) => Math.round(units * scale));
}

function press(client, button) {
  const [x, y] = place(client, BUTTONS[button], BUTTON_MIDDLE, 0, 0);
  client.tap(x, y);
}

function colour(client, area) {
  const pixels = client.pixels(...area);
  const sums = [0, 0, 0];
  for (let at = 0; at < pixels.length; at += 1) if (at % 4 < 3) sums[at % 4] += pixels[at];
  return sums.map((sum) => (sum * 4) / pixels.length);
}

function magenta(client, { x, y }) {
  const [red, green, blue] = client.pixels(x, y, 1, 1);
  return red > 180 && green < 90 && blue > 180;
}

function equal(name, seen, expected) {
  if (seen !== expected) throw new Error(`${name}: ${seen}, not ${expected}`);
}
