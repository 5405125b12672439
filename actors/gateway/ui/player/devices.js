// The camera and the microphone of whoever plays. Nothing of them is sent before somebody here has
// agreed, whatever the application asks for and the browser has allowed before.

const KINDS = { camera: "video", microphone: "audio" };

export class Devices {
  #tracks = new Map();
  #transmit;
  #events;

  /**
   * `transmit(kind, track)` sends a track, or none. `events` is told of `changed(name, on)` and of
   * `refused(name, cause)`, where `cause` is `refused`, `missing` or `busy`.
   */
  constructor(transmit, events) {
    this.#transmit = transmit;
    this.#events = events;
  }

  isOn(name) {
    return this.#tracks.has(name);
  }

  /** Sends the camera or the microphone, with what the application wants of it. */
  async turnOn(name, wanted = {}) {
    if (this.isOn(name)) return;
    try {
      if (!navigator.mediaDevices) throw new DOMException("", "NotAllowedError");
      const asked = { [KINDS[name]]: name === "camera" ? camera(wanted) : true };
      const stream = await navigator.mediaDevices.getUserMedia(asked);
      const [track] = stream.getTracks();
      // Unplugged, or taken back in the browser's own controls.
      track.onended = () => this.turnOff(name);
      this.#tracks.set(name, track);
      await this.#transmit(KINDS[name], track);
      this.#events.changed(name, true);
    } catch (error) {
      this.turnOff(name);
      this.#events.refused(name, CAUSES[error.name] ?? "refused");
    }
  }

  turnOff(name) {
    const track = this.#tracks.get(name);
    if (!track) return;
    track.onended = null;
    track.stop();
    this.#tracks.delete(name);
    Promise.resolve(this.#transmit(KINDS[name])).catch(() => {});
    this.#events.changed(name, false);
  }

  /** Sends what is on over a new connection. */
  async resume() {
    for (const [name, track] of this.#tracks) await this.#transmit(KINDS[name], track);
  }

  stop() {
    for (const name of Object.keys(KINDS)) this.turnOff(name);
  }
}

const CAUSES = {
  NotFoundError: "missing", OverconstrainedError: "missing", NotReadableError: "busy",
  AbortError: "busy",
};

function camera({ resolution = {}, "facing-mode": facing, "frame-rate": rate }) {
  const ideal = (value) => (value ? { ideal: value } : undefined);
  return {
    width: ideal(resolution.width), height: ideal(resolution.height), frameRate: ideal(rate),
    facingMode: ideal(facing === "front" ? "user" : "environment"),
  };
}
