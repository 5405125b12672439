// Servers that say who asked, as STUN does (RFC 8489), each after a while of its own.

import { createSocket } from "node:dgram";

const COOKIE = 0x2112a442;
const BINDING_SUCCESS = 0x0101;
const XOR_MAPPED_ADDRESS = 0x0020;
const IPV4 = 0x01;

/** Has a server answer after so many milliseconds; returns its address, and what ends it. */
export async function answerAfter(delay) {
  const socket = createSocket("udp4");
  socket.on("message", (question, from) => {
    setTimeout(() => socket.send(answer(question, from), from.port, from.address), delay);
  });
  await new Promise((done) => socket.bind(0, "127.0.0.1", done));
  return { url: `stun:127.0.0.1:${socket.address().port}`, close: () => socket.close() };
}

function answer(question, { port, address }) {
  const reply = Buffer.alloc(32);
  reply.writeUInt16BE(BINDING_SUCCESS, 0);
  reply.writeUInt16BE(12, 2);
  // The cookie and the number of the transaction are those of the question.
  question.copy(reply, 4, 4, 20);
  reply.writeUInt16BE(XOR_MAPPED_ADDRESS, 20);
  reply.writeUInt16BE(8, 22);
  reply.writeUInt8(IPV4, 25);
  reply.writeUInt16BE(port ^ (COOKIE >>> 16), 26);
  const [a, b, c, d] = address.split(".").map(Number);
  reply.writeUInt32BE((((a << 24) | (b << 16) | (c << 8) | d) ^ COOKIE) >>> 0, 28);
  return reply;
}
