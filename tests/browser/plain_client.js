// A client written from the wire contract alone: plain WebSocket and RTCPeerConnection, no code of
// the gateway's page. It runs in a page of another origin.

const STILL_MS = 30_000;

/** A session at the gateway, as somebody elsewhere asks for it. */
export class Gateway {
  #url;
  #token;

  constructor(url, token) {
    this.#url = url;
    this.#token = token;
  }

  async ask(method, path, body, expected) {
    const headers = { Authorization: `Macaroon root=${this.#token}`, Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const request = { method, headers, body: body === undefined ? undefined : JSON.stringify(body) };
    const answer = await fetch(`${this.#url}/1.0${path}`, request);
    const envelope = await answer.json();
    if (answer.status !== expected || envelope.status !== "success") {
      throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(envelope)}`);
    }
    return envelope.metadata;
  }

  async active(id) {
    await until(`session ${id} to be active`, async () => {
      const { status } = await this.ask("GET", `/sessions/${id}`, undefined, 200);
      return status === "active";
    });
  }
}

/** One stream: signaling, media, control. */
export class Client {
  heard = [];
  errors = [];
  closed = false;
  controlClosed = false;
  video = document.createElement("video");
  #options;
  #early = [];
  #described = false;

  constructor(joined, options = {}) {
    this.#options = {
      version: 2, discovers: true, codecs: [], channels: [], media: true, camera: false,
      microphone: false, candidatesFirst: false, relay: false, ...options,
    };
    const iceServers = joined.stun_servers.map(({ urls, username, password }) => ({
      urls, ...(username && { username, credential: password }),
    }));
    const iceTransportPolicy = this.#options.relay ? "relay" : "all";
    this.peer = new RTCPeerConnection({ iceServers, iceTransportPolicy });
    this.control = this.peer.createDataChannel("control", { ordered: true });
    this.control.onmessage = ({ data }) => this.heard.push(JSON.parse(data));
    this.control.onclose = () => { this.controlClosed = true; };
    this.channels = Object.fromEntries(
      this.#options.channels.map((name) => [name, this.peer.createDataChannel(name)]),
    );
    this.peer.ontrack = ({ track, streams }) => this.#show(track, streams);
    this.peer.onicecandidate = ({ candidate }) => {
      if (!candidate?.candidate) return;
      const { sdpMid, sdpMLineIndex } = candidate;
      this.#send({ type: "candidate", candidate: btoa(candidate.candidate), sdpMid, sdpMLineIndex });
    };
    this.peer.oniceconnectionstatechange = () => {
      if (this.peer.iceConnectionState === "connected") this.socket.close();
    };
    this.video.muted = true;
    if (this.#options.media) document.body.append(this.video);
    this.socket = new WebSocket(joined.url);
    this.socket.onopen = () => this.#begin();
    this.socket.onclose = () => { this.closed = true; };
    // One after the other: a description takes its time.
    let last = Promise.resolve();
    this.socket.onmessage = ({ data }) => {
      last = last.then(() => this.#hear(JSON.parse(data))).catch((error) => this.errors.push(error));
    };
  }

  /** Waits for a picture of this size. */
  async shows(width, height) {
    await until(`a picture of ${width}x${height}`, () => {
      if (this.errors.length) throw this.errors[0];
      return this.video.videoWidth === width && this.video.videoHeight === height;
    });
    await until("the control channel", () => this.control.readyState === "open");
  }

  /** Does something to the device. */
  does(type, data) {
    this.control.send(JSON.stringify(data === undefined ? { type } : { type, data }));
  }

  /** Waits for a message of the device, and returns what it holds. */
  async hears(type) {
    const at = () => this.heard.findIndex((message) => message.type === type);
    await until(`a message ${type}`, () => at() >= 0);
    const [{ data }] = this.heard.splice(at(), 1);
    return JSON.parse(data);
  }

  tap(x, y) {
    this.does("input::touch-start", { id: 0, x, y });
    this.does("input::touch-end", { id: 0, last: true });
  }

  /** Returns the pixels of a part of the picture. */
  pixels(x, y, width, height) {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(this.video, -x, -y);
    return context.getImageData(0, 0, width, height).data;
  }

  /** How much of a part of the picture is light, from 0 to 1. */
  light(x, y, width, height) {
    const pixels = this.pixels(x, y, width, height);
    let light = 0;
    for (let at = 0; at < pixels.length; at += 4) light += pixels[at + 1] > 150;
    return light / (width * height);
  }

  async statistics(type, wanted = () => true) {
    const all = [...(await this.peer.getStats()).values()];
    return all.find((entry) => entry.type === type && wanted(entry));
  }

  /** Sends a track of this machine's in place of nothing. */
  async sends(kind) {
    const stream = await navigator.mediaDevices.getUserMedia({ [kind]: true });
    const transceiver = this.peer.getTransceivers()
      .find(({ receiver }) => receiver.track.kind === kind);
    await transceiver.sender.replaceTrack(stream.getTracks()[0]);
  }

  /** Watches the picture for a while; returns how that went. */
  async watch(seconds) {
    let [frames, since, longest] = [0, performance.now(), 0];
    const end = since + seconds * 1000;
    while (performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      const { totalVideoFrames } = this.video.getVideoPlaybackQuality();
      const now = performance.now();
      longest = Math.max(longest, now - since);
      if (totalVideoFrames !== frames) [frames, since] = [totalVideoFrames, now];
    }
    const { selectedCandidatePairId } = await this.statistics("transport");
    const pair = await this.statistics("candidate-pair", ({ id }) => id === selectedCandidatePairId);
    const local = await this.statistics("local-candidate", ({ id }) => id === pair.localCandidateId);
    return { longest_ms: Math.round(longest), frames, candidate: local.candidateType };
  }

  leave() {
    this.does("stream::disconnect", {});
  }

  async gone() {
    await until("the end of the stream", () => this.controlClosed);
    this.peer.close();
    this.video.remove();
  }

  /** Waits for the instance to refuse the stream, and returns its words. */
  async refused() {
    await until("a refusal", () => this.errors.length > 0);
    this.peer.close();
    this.video.remove();
    return this.errors[0].message;
  }

  async #begin() {
    // Nobody knows this one, and nothing comes of it.
    this.#send({ type: "a-later-word", members: 1 });
    const { version, discovers } = this.#options;
    if (version > 0 && discovers) return this.#send({ type: "discover" });
    if (version > 0) this.#settings();
    await this.#offer();
  }

  async #hear(message) {
    switch (message.type) {
      case "resp:discover":
        this.discovered = message;
        this.#settings();
        if (this.#options.version < 2) await this.#offer();
        break;
      case "offer":
        await this.peer.setRemoteDescription({ type: "offer", sdp: atob(message.sdp) });
        await this.#answer();
        await this.#late();
        break;
      case "answer":
        await this.peer.setRemoteDescription({ type: "answer", sdp: atob(message.sdp) });
        await this.#late();
        break;
      case "candidate": {
        const { sdpMid, sdpMLineIndex } = message;
        const candidate = { candidate: atob(message.candidate), sdpMid, sdpMLineIndex };
        if (this.#described) await this.peer.addIceCandidate(candidate);
        else this.#early.push(candidate);
        break;
      }
      case "error":
        throw new Error(`error ${message.code}: ${message.message}`);
    }
  }

  #settings() {
    const { version, channels, media, camera, microphone, codecs } = this.#options;
    const settings = { type: "settings", api_version: version };
    if (version >= 2) {
      Object.assign(settings, {
        data_channels: channels, enable_speaker: media, enable_microphone: microphone,
        enable_video: media, enable_camera: camera,
      });
    }
    if (codecs.length) settings.video = { preferred_decoder_codecs: codecs };
    this.#send(settings);
  }

  async #answer() {
    const { camera, microphone, codecs } = this.#options;
    for (const transceiver of this.peer.getTransceivers()) {
      const { kind } = transceiver.receiver.track;
      const sends = kind === "video" ? camera : microphone;
      transceiver.direction = sends ? "sendrecv" : "recvonly";
      if (kind === "video" && codecs.length) this.#prefer(transceiver, codecs);
    }
    const answer = await this.peer.createAnswer();
    await this.peer.setLocalDescription(answer);
    if (this.#options.candidatesFirst) {
      await until("all candidates", () => this.peer.iceGatheringState === "complete");
    }
    this.#send({ type: "answer", sdp: btoa(answer.sdp) });
  }

  async #offer() {
    this.peer.addTransceiver("audio", { direction: "recvonly" });
    const video = this.peer.addTransceiver("video", { direction: "recvonly" });
    if (this.#options.codecs.length) this.#prefer(video, this.#options.codecs);
    const offer = await this.peer.createOffer();
    await this.peer.setLocalDescription(offer);
    this.#send({ type: "offer", sdp: btoa(offer.sdp), dataChannels: ["control"] });
  }

  #prefer(transceiver, names) {
    const { codecs } = RTCRtpReceiver.getCapabilities("video");
    const called = ({ mimeType }, name) => mimeType.toLowerCase() === `video/${name.toLowerCase()}`;
    transceiver.setCodecPreferences(codecs.filter((codec) => names.some((name) => called(codec, name))));
  }

  async #late() {
    this.#described = true;
    for (const candidate of this.#early.splice(0)) await this.peer.addIceCandidate(candidate);
  }

  #show(track, streams) {
    if (track.kind === "audio") this.sound = new MediaStream([track]);
    else {
      this.video.srcObject = streams[0] ?? new MediaStream([track]);
      this.video.play().catch(() => {});
    }
  }

  #send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}

/** Returns the loudest frequency of a stream's sound, in Hz, once there is any. */
export async function loudest(stream) {
  const context = new AudioContext();
  // Chromium decodes a remote track only while an element plays it.
  const element = new Audio();
  element.srcObject = stream;
  element.muted = true;
  element.play().catch(() => {});
  const analyser = new AnalyserNode(context, { fftSize: 8192 });
  context.createMediaStreamSource(stream).connect(analyser);
  await context.resume();
  const bins = new Float32Array(analyser.frequencyBinCount);
  let at = 0;
  await until("a sound", () => {
    analyser.getFloatFrequencyData(bins);
    at = bins.reduce((best, level, n) => (level > bins[best] ? n : best), 0);
    return bins[at] > -60;
  });
  const frequency = (at * context.sampleRate) / analyser.fftSize;
  await context.close();
  return frequency;
}

/** Waits until `holds`, asked again and again, does. */
export async function until(what, holds) {
  const end = performance.now() + STILL_MS;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
