// What is said over the control channel of a stream.

/** Says what a person does to the application; nothing while the channel is not open. */
export class Control {
  #channel;

  /** `channel()` returns the channel of the present connection, if there is one. */
  constructor(channel) {
    this.#channel = channel;
  }

  send(type, data) {
    const channel = this.#channel();
    if (channel?.readyState === "open") channel.send(JSON.stringify({ type, data }));
  }

  key(code, pressed) {
    this.send("input::key", { code, pressed });
  }

  /** Presses and releases a key. */
  tap(code) {
    this.key(code, true);
    this.key(code, false);
  }

  /** Writes `text` where the application has its cursor. */
  write(text) {
    if (text) this.send("input::ime-event", { type: 1, data: { text } });
  }

  /** Shows what an input method has of a word so far. */
  compose(text) {
    this.send("input::ime-event", { type: 4, data: { text } });
  }

  /** Has the input method press a key of Android's, such as 67, which deletes. */
  editKey(code, times = 1) {
    this.send("input::ime-event", { type: 2, data: { code, times } });
  }
}

/** Returns `{type, data}` of what the application says; `data` is a text that holds JSON. */
export function heard(text) {
  try {
    const { type, data } = JSON.parse(text);
    return { type, data: typeof data === "string" && data ? JSON.parse(data) : data };
  } catch {
    return {};
  }
}
