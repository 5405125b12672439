// One stream: signaling over the session's socket (version 2, where the instance offers), then
// media straight from the instance. The socket stays: over it come new TURN credentials, and the
// instance's offers of new ways when the old ones end or break.

const API_VERSION = 2;
const SIGNALING_DEADLINE_MS = 5 * 60_000;
const LOST_AFTER_MS = 15_000;

// New servers are on their way when the offer that needs them comes; their path is another one.
const SERVERS_WITHIN_MS = 3_000;

// An answer that brings its candidates along saves the way of each.
const GATHER_WITHIN_MS = 300;

// A gateway that restarts is back soon; one that does not know us any more never is.
const REOPEN_AFTER_MS = 500;
const REOPENED_MOST_SELDOM_MS = 30_000;
const REOPENINGS = 20;

// The session or this client's part in it is over, as the gateway says.
const OVER = [1000, 1008];

/**
 * Connects to the instance of a session as its client.
 *
 * `events` is told of everything that happens: `step(name)` on the way (`socket`, `found`, `offer`),
 * `media(stream)` when the first track comes, `connected()`, `shaky()` while packets stay away,
 * `message(text)` when the application says something, and at most one of `failed(cause, detail)` and
 * `left()`, when the other side hung up; after those two nothing follows. Causes are `no_start`,
 * `socket`, `signaling`, `refused`, `older`, `no_path` and `lost`.
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
  #url;
  #reopening;
  #reopenings = 0;
  #pause;
  #settled = false;
  #cursor = "";
  #unstored = new Map();
  #report;
  #relayOnly;
  #sends;
  #renewal = 0;
  #renewed = () => {};
  #answered;
  #markAnswered;
  #connected = false;
  #closed = false;

  /** With `sends` a camera and a microphone may be sent later. */
  constructor({ url, stunServers, relayOnly, sends = false }, events) {
    this.#events = events;
    this.#answered = new Promise((resolve) => (this.#markAnswered = resolve));
    this.#relayOnly = relayOnly;
    this.#sends = sends;
    this.#peer = new RTCPeerConnection(this.#configuration(stunServers));
    this.#watchPeer();
    // Made before the offer comes: the instance never opens a channel itself.
    this.#control = this.#peer.createDataChannel("control");
    this.#control.onclose = () => this.#leave();
    this.#control.onmessage = ({ data }) => this.#closed || this.#events.message?.(data);
    this.#url = new URL(url);
    // So that there is a fresh token whenever the socket has to be opened again.
    this.#url.searchParams.set("tickets", "1");
    this.#socket = this.#openSocket();
    this.#send({ type: "discover" });
    const late = () => this.#fail("no_start");
    this.#deadline = setTimeout(late, SIGNALING_DEADLINE_MS);
  }

  /** The channel for taps, open once the stream is connected. */
  get control() {
    return this.#control;
  }

  /** What the browser counts. */
  statistics() {
    return this.#peer.getStats();
  }

  /** Sends `track` in place of what was sent of its `kind`, or nothing when there is no track. */
  async transmit(kind, track) {
    const takes = ({ receiver }) => receiver.track.kind === kind;
    await this.#peer.getTransceivers().find(takes)?.sender.replaceTrack(track ?? null);
  }

  /** Tells the gateway, once, that the first picture came `after` so many milliseconds. */
  tellFirstFrame(after) {
    // As the gateway knows it from a signal: with its type first.
    this.#report ??= JSON.stringify({ type: "first_frame", after_ms: Math.round(after) });
    this.#sendReport();
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
    clearTimeout(this.#reopening);
    this.#socket.close();
    this.#peer.close();
  }

  // With a cursor, signals come and go in envelopes: whatever happens to a socket, the next one
  // goes on behind the last signal that came, and has what the gateway may not have stored.
  #openSocket() {
    this.#url.searchParams.set("after", this.#cursor);
    const socket = new WebSocket(this.#url);
    socket.onopen = () => {
      this.#reopenings = 0;
      if (!this.#settled) this.#events.step("socket");
      for (const envelope of this.#unstored.values()) socket.send(envelope);
      this.#sendReport();
    };
    socket.onmessage = ({ data }) => {
      const message = parsed(data);
      if (!message) return console.warn("a message of the gateway makes no sense");
      // Only a signal in its envelope has no type.
      if (message.cursor !== undefined && message.type !== "stored") this.#cursor = message.cursor;
      switch (message.type) {
        case "resumed":
          return;
        case "history_gone":
          return console.warn("signals of a long absence are lost");
        case "stored":
          return this.#unstored.delete(message.id);
        case "ticket":
          return this.#url.searchParams.set("token", message.token);
        // Not in turn: an offer may be waiting for them.
        case "ice_servers":
          return this.#renew(message);
      }
      // One after the other: a candidate must not overtake the offer it belongs to.
      this.#inbound = this.#inbound
        .then(() => this.#closed || this.#receive(message.signal ?? message))
        .catch((error) => this.#fail("signaling", error.message));
    };
    socket.onclose = ({ code }) => {
      if (this.#closed) return;
      // One that never worked will not work the next time.
      const may = this.#cursor && !OVER.includes(code) && this.#reopenings < REOPENINGS;
      if (may) return this.#reopenLater();
      // Once there is a stream it goes on without; only renewals are missed.
      if (!this.#connected) this.#fail("socket", String(code));
    };
    return socket;
  }

  #reopenLater() {
    const due = Math.min(REOPEN_AFTER_MS * 2 ** this.#reopenings, REOPENED_MOST_SELDOM_MS);
    // All pages of a gateway lose it in one moment, and must not come back in one.
    const spread = due * Math.random();
    const pause = this.#pause === undefined ? due / 2 + spread : this.#pause + spread / 2;
    this.#pause = undefined;
    this.#reopenings += 1;
    this.#reopening = setTimeout(() => {
      this.#url.searchParams.set("ice_renewal", this.#renewal);
      this.#socket = this.#openSocket();
    }, pause);
  }

  async #receive(message) {
    switch (message.type) {
      case "resp:discover":
        return this.#settled || this.#settle(message.max_api_version ?? API_VERSION);
      case "offer":
        return this.#answer(message);
      case "candidate":
        return this.#addCandidate({ ...message, candidate: decoded(message.candidate) });
      case "error":
        // A gateway that restarts says when another one is ready for us; the close follows.
        if (message.retry_after_ms !== undefined) return void (this.#pause = message.retry_after_ms);
        // Once there is a stream, it is the stream that says how it ends.
        if (this.#connected) return console.info("the gateway says", message.message);
        return this.#fail("refused", message.message);
      default:
        console.info("signal of an unknown type", message.type);
    }
  }

  #settle(newest) {
    if (newest < API_VERSION) return this.#fail("older");
    this.#settled = true;
    this.#events.step("found");
    this.#send({
      type: "settings",
      api_version: API_VERSION,
      data_channels: [],
      enable_speaker: true,
      enable_microphone: this.#sends,
      enable_video: true,
      enable_camera: this.#sends,
    });
  }

  #renew({ ice_servers: iceServers, ice_renewal: renewal }) {
    if (this.#closed) return;
    this.#peer.setConfiguration(this.#configuration(iceServers));
    this.#renewal = renewal;
    this.#renewed();
  }

  /** Returns when the servers of a renewal are here, or late: the old ones may do. */
  async #serversOf(renewal) {
    if (this.#renewal >= renewal) return;
    await within(SERVERS_WITHIN_MS, (done) => {
      this.#renewed = () => this.#renewal >= renewal && done();
    });
    this.#renewed = () => {};
  }

  async #answer({ sdp, ice_renewal: renewal }) {
    const peer = this.#peer;
    const again = Boolean(peer.remoteDescription);
    const offer = decoded(sdp);
    if (!offer) return this.#refuse("an offer without a description");
    if (renewal !== undefined) await this.#serversOf(renewal);
    if (!again) this.#events.step("offer");
    try {
      await peer.setRemoteDescription({ type: "offer", sdp: offer });
    } catch (error) {
      return this.#refuse(error.message);
    }
    if (this.#sends) for (const way of peer.getTransceivers()) way.direction = "sendrecv";
    await peer.setLocalDescription();
    if (again) {
      await within(GATHER_WITHIN_MS, (done) => {
        if (peer.iceGatheringState === "complete") done();
        else peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done();
      });
    }
    this.#send({ type: "answer", sdp: btoa(this.#peer.localDescription.sdp) });
    this.#markAnswered();
    for (const candidate of this.#early.splice(0)) await this.#addCandidate(candidate);
  }

  // What is no offer is no reason to end a stream, and none to wait for one that may follow.
  #refuse(reason) {
    console.warn("offer refused", reason);
  }

  async #addCandidate({ candidate, sdpMid, sdpMLineIndex }) {
    // Nobody can be reached at an empty one, or at what is no text in base64.
    if (!candidate) return console.warn("candidate refused", "it names no address");
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
      // Later the instance may still offer another path.
      if (peer.connectionState !== "failed" || this.#connected) return;
      this.#fail("no_path");
    };
  }

  #follow(state) {
    if (state === "connected" || state === "completed") {
      clearTimeout(this.#deadline);
      clearTimeout(this.#lost);
      this.#lost = undefined;
      this.#connected = true;
      this.#events.connected();
    } else if (state === "disconnected" || (state === "failed" && this.#connected)) {
      this.#events.shaky();
      this.#lost ??= setTimeout(() => this.#fail("lost"), LOST_AFTER_MS);
    }
  }

  #configuration(servers) {
    return {
      iceServers: servers.map(iceServer),
      iceTransportPolicy: this.#relayOnly ? "relay" : "all",
    };
  }

  // The id makes a repeat harmless: the gateway stores it once.
  #send(signal) {
    const id = crypto.randomUUID();
    const envelope = JSON.stringify({ id, signal });
    this.#unstored.set(id, envelope);
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(envelope);
  }

  #sendReport() {
    if (!this.#report || this.#socket.readyState !== WebSocket.OPEN) return;
    this.#socket.send(this.#report);
    this.#report = "";
  }

  #fail(cause, detail) {
    if (this.#closed) return;
    this.close();
    this.#events.failed(cause, detail);
  }

  #leave() {
    if (this.#closed) return;
    this.close();
    this.#events.left();
  }
}

/** Returns the object that `data` is the JSON of, or nothing. */
function parsed(data) {
  try {
    const message = JSON.parse(data);
    return message && typeof message === "object" ? message : undefined;
  } catch {
    return undefined;
  }
}

/** Returns the text that `encoded` is the base64 of, or nothing. */
function decoded(encoded) {
  if (typeof encoded !== "string") return undefined;
  try {
    return atob(encoded);
  } catch {
    return undefined;
  }
}

/** Returns once `work` calls back, after `milliseconds` at the latest. */
function within(milliseconds, work) {
  return new Promise((done) => {
    setTimeout(done, milliseconds);
    work(done);
  });
}

function iceServer({ urls, username, password }) {
  return password === undefined ? { urls } : { urls, username, credential: password };
}
