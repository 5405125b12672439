// What a client of another origin does with a session, step by step. Each step names the section
// of the manual that it holds the stack against.

import { shell } from "./plain_adb.js";
import { Client, Gateway, loudest, until } from "./plain_client.js";
import { INPUT, LINES, place } from "./plain_input.js";

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
  for (const [name, works] of INPUT) {
    await step(`Control channel: ${name}`, () => works(client));
  }
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
  const join = async (options) => {
    const body = { screen: wide, disconnect_clients: true };
    client = new Client(await gateway.ask("POST", `/sessions/${id}/join`, body, 200), options);
  };
  await step("Signaling: settings and an offer, without a question before", async () => {
    await join({ version: 1, discovers: false });
    await client.shows(1280, 720);
  });
  await step("Signaling: candidates that come before the description", async () => {
    await join({ candidatesFirst: true });
    await client.shows(1280, 720);
  });
  await step("Signaling: a version that the instance does not speak is refused", async () => {
    await join({ version: 3 });
    equal("refusal", (await client.refused()).startsWith("error 5: "), true);
  });
  await step("Signaling: no codec in common is refused with those that there are", async () => {
    await join({ version: 1, codecs: ["AV1"] });
    const words = await client.refused();
    equal(`codecs in "${words}"`, /error 5: .*has H264, VP8, the client AV1/.test(words), true);
  });
  await step("Sessions: the one after a refused client streams", async () => {
    await join({});
    await client.shows(1280, 720);
  });
  await step("ADB: who has its URL gets a shell, beside the client", async () => {
    const share = await gateway.ask("POST", `/sessions/${id}/share`, { type: "adb" }, 200);
    const connected = await (await fetch(share.url)).json();
    equal("socket", connected.metadata.url.includes("/sockets/adb?token="), true);
    const adb = new Client(connected.metadata, { media: false, channels: ["adb"] });
    const said = await shell(adb.channels.adb, "echo from a page");
    equal("said", said.trim(), "from a page");
    equal("the client's stream", client.controlClosed, false);
    await gateway.ask("DELETE", `/shares/${share.id}?sync=true`, undefined, 200);
    await until("the end of ADB", () => adb.channels.adb.readyState === "closed");
    adb.peer.close();
  });
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

function equal(name, seen, expected) {
  if (seen !== expected) throw new Error(`${name}: ${seen}, not ${expected}`);
}
