// ADB over a data channel, as its protocol.txt has it: a header of six little-endian words, data.

import { until } from "./plain_client.js";

const VERSION = 0x01000001;
const MAX_DATA = 64 * 1024;
const HEADER = 24;

/** Runs a command on the device at the other end of `channel`; returns what it prints. */
export async function shell(channel, command) {
  const wire = new Wire(channel);
  await until("the channel for ADB", () => channel.readyState === "open");
  wire.send("CNXN", VERSION, MAX_DATA, "host::\0");
  const device = await wire.next("CNXN");
  if (!device.text.startsWith("device::")) throw new Error(`no device: ${device.text}`);
  wire.send("OPEN", 1, 0, `shell:${command}\0`);
  const { arg0: remote } = await wire.next("OKAY");
  let printed = "";
  for (;;) {
    const packet = await wire.next();
    if (packet.command === "CLSE") return printed;
    if (packet.command !== "WRTE") throw new Error(`ADB: ${packet.command}`);
    printed += packet.text;
    wire.send("OKAY", 1, remote, "");
  }
}

class Wire {
  #channel;
  #received = new Uint8Array();

  constructor(channel) {
    this.#channel = channel;
    channel.binaryType = "arraybuffer";
    channel.onmessage = ({ data }) => {
      this.#received = Uint8Array.of(...this.#received, ...new Uint8Array(data));
    };
  }

  send(command, arg0, arg1, text) {
    const data = new TextEncoder().encode(text);
    const packet = new DataView(new ArrayBuffer(HEADER + data.length));
    const word = [...command].reduce((sum, letter, at) => sum + letter.charCodeAt() * 2 ** (8 * at), 0);
    const sum = data.reduce((total, byte) => total + byte, 0);
    const words = [word, arg0, arg1, data.length, sum, (word ^ 0xffffffff) >>> 0];
    words.forEach((value, at) => packet.setUint32(4 * at, value, true));
    new Uint8Array(packet.buffer).set(data, HEADER);
    this.#channel.send(packet.buffer);
  }

  /** Waits for the next packet, which must be of this kind if one is named. */
  async next(expected) {
    let packet;
    await until(`a packet of ADB ${expected ?? ""}`, () => (packet = this.#take()));
    if (expected && packet.command !== expected) throw new Error(`ADB: ${packet.command}`);
    return packet;
  }

  #take() {
    const bytes = this.#received;
    if (bytes.length < HEADER) return undefined;
    const header = new DataView(bytes.buffer, bytes.byteOffset);
    const size = header.getUint32(12, true);
    if (bytes.length < HEADER + size) return undefined;
    this.#received = bytes.slice(HEADER + size);
    return {
      command: String.fromCharCode(...bytes.slice(0, 4)),
      arg0: header.getUint32(4, true),
      text: new TextDecoder().decode(bytes.slice(HEADER, HEADER + size)),
    };
  }
}
