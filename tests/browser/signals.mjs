// The page's stream without a browser: signals that make no sense must not end it.

import { readFile } from "node:fs/promises";
import assert from "node:assert/strict";

class Peer {
  static last;
  remoteDescription = null;
  iceConnectionState = "new";
  iceGatheringState = "complete";
  candidates = [];

  constructor() {
    Peer.last = this;
  }
  createDataChannel() {
    return { readyState: "connecting" };
  }
  async setRemoteDescription(description) {
    if (!description.sdp.startsWith("v=0")) throw new Error("no session description");
    this.remoteDescription = description;
  }
  async setLocalDescription() {
    this.localDescription = { sdp: "v=0 answer" };
  }
  async addIceCandidate({ candidate }) {
    if (!candidate.startsWith("candidate:")) throw new Error("no candidate");
    this.candidates.push(candidate);
  }
  close() {}
}

class Socket {
  static OPEN = 1;
  static last;
  readyState = Socket.OPEN;
  sent = [];
  texts = [];

  constructor() {
    Socket.last = this;
  }
  send(text) {
    this.texts.push(text);
    this.sent.push(JSON.parse(text).signal);
  }
  close() {}
}

Object.assign(globalThis, {
  RTCPeerConnection: Peer,
  WebSocket: Socket,
  MediaStream: class {
    getTracks() {
      return [];
    }
  },
});
console.warn = () => {};

const source = await readFile(process.argv[2], "utf8");
const { Stream } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const failures = [];
const events = {
  step() {},
  media() {},
  connected() {},
  shaky() {},
  failed: (words) => failures.push(words),
  left: () => failures.push("left"),
};
const stream = new Stream({ url: "wss://gateway/socket", stunServers: [] }, events);
const [peer, socket] = [Peer.last, Socket.last];
const settled = () => new Promise((done) => setTimeout(done, 5));
const signal = async (signal) => {
  socket.onmessage({ data: JSON.stringify({ cursor: "z-1", generation: 0, signal }) });
  await settled();
};
const encoded = (text) => Buffer.from(text).toString("base64");
const offer = { type: "offer", sdp: encoded("v=0 offer") };
const candidate = { type: "candidate", candidate: encoded("candidate:1 1 udp 1 ::1 1 typ host") };

await signal({ type: "offer" });
await signal({ type: "offer", sdp: "v=0 in plain text" });
await signal({ type: "offer", sdp: encoded("nonsense") });
await signal(offer);
assert.equal(socket.sent.at(-1).type, "answer", "the offer that makes sense is answered");
peer.iceConnectionState = "connected";
peer.oniceconnectionstatechange();

for (const wrong of [undefined, null, "", "candidate:1 1 udp in plain text", "%%%", 7, {}]) {
  await signal({ type: "candidate", candidate: wrong });
}
await signal({ type: "candidate", candidate: encoded("nonsense") });
for (const sdp of [undefined, null, "", "v=0 in plain text", 7, encoded("nonsense")]) {
  await signal({ type: "offer", sdp });
}
socket.onmessage({ data: "no JSON" });
socket.onmessage({ data: "null" });
socket.onmessage({ data: "7" });
await signal(candidate);
assert.deepEqual(failures, [], "nothing of this ends the stream");
assert.equal(peer.candidates.length, 1, "and what makes sense arrives");

// The first picture is told once, as the gateway knows it, and when there is a socket.
const reports = ({ texts }) => texts.filter((text) => text.startsWith('{"type":"first_frame"'));
socket.readyState = 3;
stream.tellFirstFrame(811.6);
assert.deepEqual(reports(socket), []);
socket.readyState = Socket.OPEN;
socket.onopen();
stream.tellFirstFrame(4_000);
socket.onopen();
assert.deepEqual(reports(socket), ['{"type":"first_frame","after_ms":812}']);
stream.close();

// All pages of a gateway lose it in one moment, and must not come back in one.
const pauses = [];
const later = globalThis.setTimeout;
for (const told of [undefined, 2000]) {
  for (let page = 0; page < 20; page += 1) {
    const lost = new Stream({ url: "wss://gateway/socket", stunServers: [] }, events);
    const cut = Socket.last;
    cut.onmessage({ data: JSON.stringify({ type: "resumed", cursor: "z-1" }) });
    if (told) cut.onmessage({ data: JSON.stringify({ type: "error", retry_after_ms: told }) });
    await settled();
    globalThis.setTimeout = (_, pause) => pauses.push(pause);
    cut.onclose({ code: 1006 });
    globalThis.setTimeout = later;
    lost.close();
  }
  const [first, last] = [Math.min(...pauses), Math.max(...pauses)];
  assert.equal(pauses.length, 20, "each of them comes back");
  assert.ok(last - first > 50, `within ${last - first} ms`);
  assert.ok(first >= (told ?? 250), `not before it is due: ${first} ms`);
  pauses.length = 0;
}
