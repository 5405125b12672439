// Everything that a client does to the device, message by message, and what shows it.

import { until } from "./plain_client.js";

// The simulated device lays its picture out on 640 by 360 units, scaled to fit.
const UNITS = { width: 640, height: 360 };

/** Where the device tells what was done to it, in units from the top. */
export const LINES = { keys: 28, mouse: 48, gamepad: 68, text: 304, sensors: 324, position: 342 };

// Part of a line's pixels that another letter changes, and how much it changes each.
const CHANGED = 0.002;
const CONTRAST = 90;

const berlin = {
  time: 1, latitude: 52.5, longitude: 13.4, altitude: 34, speed: 0, bearing: 0, format: "wgs84",
};
const cape = { ...berlin, latitude: -33.9, longitude: 18.4, format: "nmea" };

/** Each thing that can be done, and how to see that it was. */
export const INPUT = [
  said("keys", "input::key", { code: 4, pressed: true }),
  said("keys", "input::key", { code: 4, pressed: false }),
  said("mouse", "input::mouse-move", { rx: 3, ry: 4, x: 30, y: 40 }),
  said("mouse", "input::mouse-move", { rx: 3, ry: 4 }),
  said("mouse", "input::mouse-button", { button: 1, pressed: true }),
  said("mouse", "input::mouse-button", { button: 1, pressed: false }),
  said("mouse", "input::mouse-wheel", { x: 0, y: -1 }),
  said("gamepad", "input::gamepad-button", { id: 0, index: 3, pressed: true }),
  said("gamepad", "input::gamepad-axes", { id: 0, index: 1, value: 0.5 }),
  said("text", "input::ime-event", { type: 1, data: { text: "Grüße" } }),
  said("keys", "input::ime-event", { type: 2, data: { code: 67, times: 2 } }),
  said("keys", "input::ime-event", { type: 3, data: { name: "search", params: {} } }),
  said("text", "input::ime-event", { type: 4, data: { text: "kan" } }),
  said("keys", "input::ime-event", { type: 5, data: { start: 0, end: 3 } }),
  said("sensors", "sensor:event", { sensor: "acceleration", x: 0, y: 9.81, z: 0 }),
  said("sensors", "sensor:event", { sensor: "gyroscope", x: 1, y: 0, z: 0 }),
  said("sensors", "sensor:event", { sensor: "orientation", roll: 1, pitch: 2, azimuth: 3 }),
  said("position", "location::update-position", berlin),
  said("position", "location::update-position", cape),
  ["input::touch-start, input::touch-move and input::touch-end, with ten fingers", touches],
];

/** Turns units into pixels of the client's picture. */
export function place(client, x, y, width, height) {
  const { videoWidth, videoHeight } = client.video;
  const scale = Math.min(videoWidth / UNITS.width, videoHeight / UNITS.height);
  return [x, y, width, height].map((units) => Math.round(units * scale));
}

function said(line, type, data) {
  const works = async (client) => {
    const band = place(client, 8, LINES[line], UNITS.width - 16, 16);
    const before = client.pixels(...band);
    client.does(type, data);
    await until(`the line of ${line} to change`, () => differs(before, client.pixels(...band)));
  };
  return [`${type} ${JSON.stringify(data)}`, works];
}

function differs(before, now) {
  let changed = 0;
  for (let at = 1; at < now.length; at += 4) changed += Math.abs(now[at] - before[at]) > CONTRAST;
  return changed > (now.length / 4) * CHANGED;
}

async function touches(client) {
  const fingers = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
  const there = (id) => ({ x: 60 + 60 * id, y: 1000 });
  const moved = (id) => ({ x: 60 + 60 * id, y: 1100 });
  for (const id of fingers) client.does("input::touch-start", { id, ...there(id) });
  for (const id of fingers) await until(`finger ${id}`, () => magenta(client, there(id)));
  for (const id of fingers) client.does("input::touch-move", { id, ...moved(id) });
  for (const id of fingers) await until(`finger ${id} to move`, () => framed(client, moved(id)));
  for (const id of fingers) client.does("input::touch-end", { id, last: id === 9 });
  for (const id of fingers) await until(`finger ${id} to go`, () => !framed(client, moved(id)));
}

// The device draws a frame around each finger.
function framed(client, { x, y }) {
  const [red, green, blue] = client.pixels(x, y - 25, 1, 1);
  return red < 120 && green > 150 && blue > 150;
}

function magenta(client, { x, y }) {
  const [red, green, blue] = client.pixels(x, y, 1, 1);
  return red > 180 && green < 90 && blue > 180;
}
