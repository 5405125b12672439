// Reads what a token says of itself, so that what it does not allow is not offered. Nothing is
// judged here: that is the gateway's.

const END = 0;
const IDENTIFIER = 2;
const SIGNATURE = 6;

/**
 * Returns whose token it is, as far as can be read, the operations that it allows, and the session
 * and the role that it is bound to; without `operations` it was not understood.
 */
export function read(token) {
  try {
    const [identifier, ...caveats] = [...fields(token)];
    const [, , , kind, ...subject] = identifier.split(".");
    const declared = (name) => caveats.map((text) => text.split(" "))
      .find(([word, what]) => word === "declared" && what === name)?.[2];
    return { kind, name: subject.join("."), operations: allowed(caveats),
      session: declared("session"), role: declared("role") };
  } catch {
    return { kind: "", name: "", operations: undefined };
  }
}

// All `allow` together leave what each of them allows.
function allowed(caveats) {
  const lists = caveats.filter((text) => text.startsWith("allow ")).map((text) => text.split(" "));
  return new Set((lists[0] ?? []).filter((word) => lists.every((list) => list.includes(word))));
}

/** The identifier and then the caveats, in order. */
function* fields(token) {
  const base64 = token.replace(/-/g, "+").replace(/_/g, "/");
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  let place = 1;
  const varint = () => {
    for (let value = 0, shift = 0; ; shift += 7) {
      const byte = bytes[place++];
      value |= (byte & 0x7f) << shift;
      if (!(byte & 0x80)) return value;
    }
  };
  while (place < bytes.length) {
    const kind = varint();
    if (kind === END) continue;
    if (kind === SIGNATURE) return;
    const length = varint();
    const data = bytes.subarray(place, (place += length));
    if (kind === IDENTIFIER) yield new TextDecoder("utf-8", { fatal: true }).decode(data);
  }
  throw new Error("there is no signature");
}
