// The player's cores without a browser: what keys mean, where a tap lands, what gamepads and figures
// say, and how a stream ended.
//
//   node player_cores.mjs <folder of the page>

import assert from "node:assert/strict";
import path from "node:path";

Object.defineProperty(globalThis, "navigator", { value: { languages: ["en-US"] } });

const load = (name) => import(path.join(process.argv[2], `player/${name}.js`));
const { codeAt, meaning } = await load("keys");
const { gravity, screenFor, streamMovement, streamPixels } = await load("coordinates");
const { changes, state } = await load("gamepad");
const { line, row, sample, steps } = await load("statistics");
const { ending } = await load("over");
const { en } = await load("texts/en");
const { heard } = await load("control");
const { joinSession } = await load("join");
const { parentOrigin } = await import(path.join(process.argv[2], "embed/parent.js"));

// Keys have the codes of their places, each code once but for left and right.
const letters = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"].map((letter) => codeAt(`Key${letter}`));
assert.deepEqual(letters, Array.from({ length: 26 }, (_, n) => 4 + n));
const digits = [..."1234567890"].map((digit) => codeAt(`Digit${digit}`));
assert.deepEqual(digits, Array.from({ length: 10 }, (_, n) => 30 + n));
assert.deepEqual([codeAt("F1"), codeAt("F12"), codeAt("F13")], [58, 69, undefined]);
assert.deepEqual([codeAt("ArrowUp"), codeAt("ShiftRight"), codeAt("BrowserBack")], [82, 84, 92]);
assert.equal(codeAt("constructor"), undefined);

const key = (code, key, more) => meaning({ code, key, ...more });
assert.deepEqual(key("KeyA", "a"), { code: 4 });
assert.deepEqual(key("KeyA", "A", { shiftKey: true }), { code: 4 });
assert.deepEqual(key("KeyA", "A"), { text: "A" }, "with Caps Lock");
assert.deepEqual(key("KeyY", "z"), { text: "z" }, "on a German keyboard");
assert.deepEqual(key("KeyY", "z", { ctrlKey: true }), { code: 28 }, "for who undoes");
const alternate = { ctrlKey: true, altKey: true, getModifierState: () => true };
assert.deepEqual(key("KeyQ", "@", alternate), { text: "@" });
assert.deepEqual(key("Numpad7", "7"), { text: "7" });
assert.deepEqual(key("Digit1", "!", { shiftKey: true }), { code: 30 });
assert.equal(key("KeyA", "a", { isComposing: true }), undefined);
assert.equal(key("", "Unidentified"), undefined);
assert.deepEqual(key("Enter", "Enter"), { code: 40 });

// A corner of the picture is the same corner however it is turned.
const picture = { width: 1280, height: 720 };
const box = { left: 10, top: 20, width: 640, height: 640 };
const near = (found, wanted) => {
  for (const name of ["x", "y"]) {
    assert.ok(Math.abs(found[name] - wanted[name]) < 1e-6, JSON.stringify([found, wanted]));
  }
};
// Upright it is 640 by 360, and 140 below the top of the box.
near(streamPixels(10, 160, box, picture), { x: 0, y: 0 });
near(streamPixels(330, 340, box, picture), { x: 640, y: 360 });
assert.equal(streamPixels(330, 159, box, picture).inside, false);
near(streamPixels(330, 0, box, picture), { x: 640, y: 0 });
near(streamPixels(649, 519, box, picture), { x: 1278, y: 718 });
// A quarter turn clockwise: the top left corner is at the top right, at 360 by 640.
near(streamPixels(510 - 1e-9, 20, box, picture, 1), { x: 0, y: 0 });
near(streamPixels(330, 340, box, picture, 1), { x: 640, y: 360 });
near(streamPixels(650 - 1e-9, 520 - 1e-9, box, picture, 2), { x: 0, y: 0 });
near(streamPixels(150, 660 - 1e-9, box, picture, 3), { x: 0, y: 0 });
assert.equal(streamPixels(0, 0, box, { width: 0, height: 0 }), undefined);
near(streamMovement(1, 0, box, picture), { x: 2, y: 0 });
near(streamMovement(1, 0, box, picture, 1), { x: 0, y: -2 });
near(streamMovement(0, 1, box, picture, 1), { x: 2, y: 0 });
near(streamMovement(1, 1, box, picture, 2), { x: -2, y: -2 });
near(streamMovement(1, 0, box, picture, 3), { x: 0, y: 2 });
for (const turns of [0, 1, 2, 3]) {
  const { x, y } = gravity(turns);
  assert.equal(Math.hypot(x, y), 9.81);
}
assert.deepEqual(screenFor({ width: 391, height: 844 }, 1), { width: 392, height: 844 });
const large = screenFor({ width: 2560, height: 1440 }, 2);
assert.deepEqual(large, { width: 1920, height: 1080 });

// Gamepads say what changed, and a stick at rest says nothing.
const pad = (pressed, axes) => ({ buttons: pressed.map((pressed) => ({ pressed })), axes });
const rest = state(pad([false, false], [0.01, -0.015, 0, 0, 0, 0, 0]));
assert.deepEqual(changes(0, undefined, rest), []);
const moved = state(pad([false, true], [0.501, 0]), rest);
assert.deepEqual(changes(2, rest, moved), [
  ["input::gamepad-button", { id: 2, index: 1, pressed: true }],
  ["input::gamepad-axes", { id: 2, index: 0, value: 0.5 }],
]);
assert.deepEqual(changes(2, moved, state(pad([false, true], [0.509, 0]), moved)), []);
assert.deepEqual(changes(2, moved, state(pad([false, true], [0.001, 0]), moved)),
  [["input::gamepad-axes", { id: 2, index: 0, value: 0 }]]);

// Figures are what happened between two reports.
const report = (more, pair, local) => new Map([
  ["v", { id: "v", type: "inbound-rtp", kind: "video", codecId: "c", bytesReceived: 0,
    framesDecoded: 0, packetsReceived: 0, packetsLost: 0, totalDecodeTime: 0, jitter: 0.004,
    frameWidth: 1280, frameHeight: 720, ...more }],
  ["a", { id: "a", type: "inbound-rtp", kind: "audio", bytesReceived: 9e9 }],
  ["c", { id: "c", type: "codec", mimeType: "video/H264" }],
  ["t", { id: "t", type: "transport", selectedCandidatePairId: "p" }],
  ["q", { id: "q", type: "candidate-pair", currentRoundTripTime: 9 }],
  ["p", { id: "p", type: "candidate-pair", localCandidateId: "l", remoteCandidateId: "r",
    currentRoundTripTime: 0.0123, ...pair }],
  ["l", { id: "l", type: "local-candidate", candidateType: "host", protocol: "udp", ...local }],
  ["r", { id: "r", type: "remote-candidate", candidateType: "host" }],
]);
const first = sample(report(), 1_000);
const relayed = { candidateType: "relay", relayProtocol: "tcp", url: "turn:eu-relay-1:3478?transport=tcp" };
const second = sample(report({ bytesReceived: 250_000, framesDecoded: 60, packetsReceived: 98,
  packetsLost: 2, totalDecodeTime: 0.18 }, {}, relayed), 3_000);
const figures = row(first, second);
const rounded = Object.fromEntries(Object.entries(figures)
  .map(([name, value]) => [name, Number(value.toFixed(3))]));
assert.deepEqual(rounded,
  { bitrate: 1, frames: 30, round_trip: 12.3, jitter: 4, loss: 2, decode: 3 });
assert.deepEqual(first.path, { kind: "direct", protocol: "UDP", relay: undefined });
assert.deepEqual(second.path, { kind: "relay", protocol: "TCP", relay: "eu-relay-1" });
assert.equal(second.codec, "H264");
const silent = row(second, { ...second, at: 4_000 });
assert.deepEqual([silent.bitrate, silent.frames, silent.loss, silent.decode],
  [0, 0, undefined, undefined]);
// A new connection begins to count anew.
assert.equal(row(second, sample(report({ bytesReceived: 10 }), 4_000)).bitrate, undefined);
const nothing = row(sample(new Map(), 0), sample(new Map(), 1_000));
assert.deepEqual([...new Set(Object.values(nothing))], [undefined]);
assert.deepEqual(steps(new Map([["asked", 5], ["joined", 17], ["picture", 117]])),
  [{ name: "joined", milliseconds: 12 }, { name: "picture", milliseconds: 100 }]);
assert.deepEqual(line([], 140, 28), { points: "", top: 0 });
assert.deepEqual(line([1, undefined, 2], 100, 23), { points: "0.0,12.5 100.0,2.5", top: 2 });

// Each way a stream ends has a sentence and a remedy of its own.
const causes = ["left", "lost", "no_path", "no_start", "socket", "signaling", "refused", "older"];
for (const cause of causes) {
  const { why, remedy } = ending(cause, "because");
  for (const text of [why, remedy]) assert.ok(text.length > 15 && !text.includes("{"), text);
}
assert.equal(ending("left", undefined, { status: "active" }).cause, "replaced");
assert.equal(ending("left", undefined, null).cause, "session_over");
assert.equal(ending("left", undefined, { status: "closed" }).cause, "closed");
assert.equal(ending("lost", undefined, { status: "terminated" }).cause, "session_over");
const failed = ending("left", undefined, { status: "error", status_message: "image missing" });
assert.ok(failed.why.includes("image missing"));
for (const [status, cause] of [[401, "token"], [403, "forbidden"], [404, "session_over"],
  [409, "occupied"], [0, "unreachable"], [undefined, "unreachable"], [500, "refused"]]) {
  assert.equal(ending("join", { status, message: "so" }).cause, cause);
}
assert.deepEqual(Object.keys(en).filter((name) => name.startsWith("over_"))
  .filter((name) => !en[name.replace("over_", "remedy_")]), []);

assert.deepEqual(heard('{"type":"open-camera","data":"{\\"frame-rate\\":30}"}'),
  { type: "open-camera", data: { "frame-rate": 30 } });
for (const wrong of ["", "null", "7", '{"type":"x","data":"{"}']) heard(wrong);

// Whoever waits to watch is told for how long, and can ask at once.
const refusals = [{ retryAfter: 600 }, { retryAfter: 600, metadata: { free_after_s: 700 } }];
const turns = [];
const joined = await joinSession({
  session: async () => ({ status: "active" }),
  join: async () => {
    if (!refusals.length) return "joined";
    throw Object.assign(new Error("occupied"), { status: 409 }, refusals.shift());
  },
}, "id", { aborted: new AbortController().signal, tell: (step, turn) => {
  turns.push([step, ...[turn.next, turn.free].map((moment) =>
    moment && Math.round((moment - performance.now()) / 1000))]);
  turn.now();
} });
assert.equal(joined, "joined");
assert.deepEqual(turns, [["occupied", 600, undefined], ["occupied", 600, 700]]);

// A frame speaks with the page around it where that is one of those listed, and with nobody else.
const listed = ["https://a.example", "https://b.example"];
const around = (ancestors, referrer, origins = listed) =>
  parentOrigin({ ancestors, referrer, listed: origins });
assert.equal(around(["https://b.example", "https://c.example"], ""), "https://b.example");
assert.equal(around(["https://c.example"], "https://a.example/page"), null);
assert.equal(around(undefined, "https://a.example/page?x"), "https://a.example");
assert.equal(around(undefined, "https://c.example/"), null);
assert.equal(around([], "", ["https://a.example"]), "https://a.example");
assert.equal(around(undefined, ""), undefined);
assert.equal(around(["https://a.example"], "", []), null);
