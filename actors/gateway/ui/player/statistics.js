// What a stream is like, from what the browser counts. Pure.

/** Returns what counts in the report of `getStats`, taken at `at` milliseconds unless it says when. */
export function sample(report, at) {
  const entries = [...report.values()];
  const one = (type, wanted) => entries.find((entry) => entry.type === type && wanted(entry));
  const video = one("inbound-rtp", ({ kind }) => kind === "video");
  const transport = one("transport", ({ selectedCandidatePairId }) => selectedCandidatePairId);
  const chosen = ({ id, selected }) => selected || id === transport?.selectedCandidatePairId;
  const pair = one("candidate-pair", chosen);
  const local = one("local-candidate", ({ id }) => id === pair?.localCandidateId);
  const remote = one("remote-candidate", ({ id }) => id === pair?.remoteCandidateId);
  const codec = one("codec", ({ id }) => id === video?.codecId);
  return {
    at: video?.timestamp ?? at,
    bytes: video?.bytesReceived,
    frames: video?.framesDecoded,
    packets: video?.packetsReceived,
    lost: video?.packetsLost,
    decodeTime: video?.totalDecodeTime,
    jitter: video?.jitter,
    roundTrip: pair?.currentRoundTripTime,
    width: video?.frameWidth,
    height: video?.frameHeight,
    codec: codec?.mimeType?.split("/")[1],
    path: local && path(local, remote),
  };
}

/** Which way packets go: `kind` is `relay`, `direct` or `translated` (through an address translator). */
function path(local, remote) {
  const types = [local.candidateType, remote?.candidateType];
  const kind = types.includes("relay") ? "relay" : types.every((type) => type === "host") ? "direct" :
    "translated";
  const protocol = (local.relayProtocol ?? local.protocol ?? "udp").toUpperCase();
  return { kind, protocol, relay: host(local.url) };
}

function host(url) {
  return /^turns?:(\[[^\]]*\]|[^:?]*)/.exec(url ?? "")?.[1];
}

/**
 * Returns what the stream was like between two samples: bitrate in Mbit/s, frames a second, round
 * trip, jitter and decoding of a frame in milliseconds, loss in percent. What is not known is
 * undefined.
 */
export function row(before, after) {
  const seconds = (after.at - before.at) / 1000;
  const grown = (name) => {
    const by = after[name] - before[name];
    // A new connection counts from the beginning.
    return seconds > 0 && by >= 0 ? by : undefined;
  };
  const [bytes, frames, packets, decoded] = ["bytes", "frames", "packets", "decodeTime"].map(grown);
  // A packet that comes late is taken off what was lost.
  const lost = Math.max(0, after.lost - before.lost);
  return {
    bitrate: bytes === undefined ? undefined : (bytes * 8) / seconds / 1e6,
    frames: frames === undefined ? undefined : frames / seconds,
    round_trip: times(after.roundTrip, 1000),
    jitter: times(after.jitter, 1000),
    loss: packets + lost > 0 ? (100 * lost) / (packets + lost) : undefined,
    decode: frames > 0 ? (1000 * decoded) / frames : undefined,
  };
}

function times(value, factor) {
  return value === undefined ? undefined : value * factor;
}

/** Returns how long each step took, in order, from the moments at which they were reached. */
export function steps(moments) {
  const known = [...moments].sort(([, one], [, other]) => one - other);
  return known.slice(1).map(([name, at], n) => ({ name, milliseconds: at - known[n][1] }));
}

/**
 * Returns the points of a line through `values`, oldest first, over the whole of a box `width` by
 * `height`; what is not known leaves a gap in time, and the highest value is told apart as `top`.
 */
export function line(values, width, height) {
  const top = Math.max(...values.filter((value) => value !== undefined), 0);
  const scale = top > 0 ? (height - 1) / (top * 1.1) : 0;
  const step = width / Math.max(values.length - 1, 1);
  const points = values.flatMap((value, n) => (value === undefined ? [] :
    [`${(n * step).toFixed(1)},${(height - 0.5 - value * scale).toFixed(1)}`]));
  return { points: points.join(" "), top };
}
