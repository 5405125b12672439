// Narrows a token in the browser: no key is needed, and nobody has to be asked.

const SIGNATURE_BYTES = 32;
/** The end of the caveats, and the kind and the length of the signature. */
const TAIL = [0, 6, SIGNATURE_BYTES];

/** Returns `token` with `caveats` added, such as `allow signal.read` or `declared role view`. */
export async function attenuate(token, caveats) {
  const base64 = token.replace(/-/g, "+").replace(/_/g, "/");
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const body = [...bytes.subarray(0, bytes.length - SIGNATURE_BYTES - TAIL.length)];
  let signature = bytes.subarray(bytes.length - SIGNATURE_BYTES);
  for (const caveat of caveats.map((text) => new TextEncoder().encode(text))) {
    const hmac = { name: "HMAC", hash: "SHA-256" };
    const key = await crypto.subtle.importKey("raw", signature, hmac, false, ["sign"]);
    signature = new Uint8Array(await crypto.subtle.sign("HMAC", key, caveat));
    body.push(2, ...varint(caveat.length), ...caveat, 0);
  }
  const text = String.fromCharCode(...body, ...TAIL, ...signature);
  return btoa(text).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

function varint(value) {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >> 7)];
}
