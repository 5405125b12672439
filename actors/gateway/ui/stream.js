// One stream: signaling over the session's socket (version 2, where the instance offers), then
// media straight from the instance.

const API_VERSION = 2;
const SIGNALING_DEADLINE_MS = 5 * 60_000;
const LOST_AFTER_MS = 10_000;

/**
 * Connects to the instance of a session as its client.
 *
 * `events` is told of everything that happens: `step(words)` on the way, `media(stream)` when the
 * first track comes, `connected()`, `shaky()` while packets stay away, and at most one of
 * `failed(words)` and `left()`, when the other side hung up; after those two nothing follows.
 */
export class Stream {
  #events;
  #peer;
  #socket;
  #control;
  #media = new MediaStream();
  #deadline;
  #lost;
  #inbound = Promise.resolve();
  #early = [];
  #answered;
  #markAnswered;
  #connected = false;
  #closed = false;

  constructor({ url, stunServers, relayOnly }, events) {
    this.#events = events;
    this.#answered = new Promise((resolve) => (this.#markAnswered = resolve));
    this.#peer = new RTCPeerConnection({
      iceServers: stunServers.map(iceServer),
      iceTransportPolicy: relayOnly ? "relay" : "all",
    });
    this.#watchPeer();
    // Made before the offer comes: the instance never opens a channel itself.
    this.#control = this.#peer.createDataChannel("control");
    this.#control.onclose = () => this.#leave();
    this.#socket = this.#openSocket(url);
    const late = () => this.#fail("The application did not start in time.");
    this.#deadline = setTimeout(late, SIGNALING_DEADLINE_MS);
  }

  /** The channel for taps, open once the stream is connected. */
  get control() {
    return this.#control;
  }

  /** Tells the instance that nobody watches any more; no event follows, `close` is still due. */
  disconnect() {
    this.#closed = true;
    if (this.#control.readyState === "open") {
      this.#control.send(JSON.stringify({ type: "stream::disconnect", data: {} }));
    }
  }

  /** Frees everything; no event follows. */
  close() {
    this.#closed = true;
    clearTimeout(this.#deadline);
    clearTimeout(this.#lost);
    this.#socket.close();
    this.#peer.close();
  }

  #openSocket(url) {
    const socket = new WebSocket(url);
    socket.onopen = () => {
      this.#events.step("Waiting for the application to start …");
      this.#send({ type: "discover" });
    };
    // One after the other: a candidate must not overtake the offer it belongs to.
    socket.onmessage = ({ data }) => {
      this.#inbound = this.#inbound
        .then(() => this.#closed || this.#receive(JSON.parse(data)))
        .catch((error) => this.#fail(`The signaling failed: ${error.message}.`));
    };
    socket.onclose = ({ code }) => {
      if (!this.#connected) this.#fail(`The gateway closed the signaling socket (${code}).`);
    };
    return socket;
  }

  async #receive(message) {
    switch (message.type) {
      case "resp:discover":
        return this.#settle(message.max_api_version ?? API_VERSION);
      case "offer":
        return this.#answer(atob(message.sdp));
      case "candidate":
        return this.#addCandidate({ ...message, candidate: atob(message.candidate) });
      case "error":
        return this.#fail(`The stream failed: ${message.message || "no reason given"}.`);
      default:
        console.info("signal of an unknown type", message.type);
    }
  }

  #settle(newest) {
    if (newest < API_VERSION) return this.#fail("The application speaks an older protocol.");
    this.#events.step("Application found. Waiting for its offer …");
    this.#send({
      type: "settings",
      api_version: API_VERSION,
      data_channels: [],
      enable_speaker: true,
      enable_microphone: false,
      enable_video: true,
      enable_camera: false,
    });
  }

  async #answer(sdp) {
    this.#events.step("Offer received. Connecting …");
    await this.#peer.setRemoteDescription({ type: "offer", sdp });
    await this.#peer.setLocalDescription();
    this.#send({ type: "answer", sdp: btoa(this.#peer.localDescription.sdp) });
    this.#markAnswered();
    for (const candidate of this.#early.splice(0)) await this.#addCandidate(candidate);
  }

  async #addCandidate({ candidate, sdpMid, sdpMLineIndex }) {
    const entry = { candidate, sdpMid, sdpMLineIndex };
    if (!this.#peer.remoteDescription) return void this.#early.push(entry);
    try {
      await this.#peer.addIceCandidate(entry);
    } catch (error) {
      // One useless candidate is no reason to give up: the others may do.
      console.warn("candidate refused", error.message);
    }
  }

  #watchPeer() {
    const peer = this.#peer;
    peer.onicecandidate = ({ candidate }) => {
      // The end of candidates is not announced.
      if (!candidate?.candidate) return;
      const { sdpMid, sdpMLineIndex } = candidate;
      const text = btoa(candidate.candidate);
      const send = () => this.#send({ type: "candidate", candidate: text, sdpMid, sdpMLineIndex });
      this.#answered.then(send);
    };
    peer.ontrack = ({ track }) => {
      // Sound and picture come as two streams; one element plays both.
      this.#media.addTrack(track);
      if (this.#media.getTracks().length === 1) this.#events.media(this.#media);
    };
    peer.oniceconnectionstatechange = () => this.#follow(peer.iceConnectionState);
    peer.onconnectionstatechange = () => {
      if (peer.connectionState !== "failed") return;
      const found = this.#connected;
      this.#fail(found ? "The connection was lost." : "No network path to the stream was found.");
    };
  }

  #follow(state) {
    if (state === "connected" || state === "completed") {
      clearTimeout(this.#deadline);
      clearTimeout(this.#lost);
      this.#connected = true;
      this.#socket.close();
      this.#events.connected();
    } else if (state === "disconnected") {
      this.#events.shaky();
      clearTimeout(this.#lost);
      this.#lost = setTimeout(() => this.#fail("The connection was lost."), LOST_AFTER_MS);
    }
  }

  #send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #fail(words) {
    if (this.#closed) return;
    this.close();
    this.#events.failed(words);
  }

  #leave() {
    if (this.#closed) return;
    this.close();
    this.#events.left();
  }
}

function iceServer({ urls, username, password }) {
  return password === undefined ? { urls } : { urls, username, credential: password };
}
