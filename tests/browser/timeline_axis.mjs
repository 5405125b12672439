// Where the bars of a time line stand, and what stands in one row, without a browser.
//
//   node timeline_axis.mjs <folder of the page>

import assert from "node:assert/strict";
import path from "node:path";

const { axisOf, rowsOf } = await import(path.join(process.argv[2], "console/timeline_axis.js"));

const at = (hop, at_ms, took_ms) => ({ hop, at_ms, took_ms });
const start = [at("create", 100, 20), at("place", 110), at("launch", 200, 90), at("boot", 900, 700)];
const joined = [...start, at("join", 950), at("offer", 1_000), at("answer", 1_010)];
const shown = (entries) => {
  const axis = axisOf(entries);
  return [axis.from, axis.from + axis.length, entries.filter(axis.has).map(({ hop }) => hop).join(" ")];
};
const hops = "create place launch boot offer answer";

assert.deepEqual(shown(joined), [80, 1_010, hops]);
// The picture may be there before the instance says that its client is, or after that.
const [frame, client] = [at("frame", 1_100, 150), at("client", 1_050)];
assert.deepEqual(shown([...joined, frame, client]), [80, 1_100, `${hops} frame`]);
assert.deepEqual(shown([...joined, client, frame]), [80, 1_100, `${hops} frame`]);
// That of a later client is a moment of its own, and so is all that follows.
const later = [at("join", 9_000), at("frame", 9_500, 500)];
assert.deepEqual(shown([...joined, client, ...later]), [80, 1_010, hops]);
assert.deepEqual(shown([...joined, frame, ...later]), [80, 1_100, `${hops} frame`]);
assert.deepEqual(shown([...start, at("end", 950), frame]), [80, 900, "create place launch boot"]);
// Whatever a client says, the axis begins with the session.
assert.deepEqual(shown([...joined, at("frame", 1_100, 600_000)]), [80, 1_100, `${hops} frame`]);

// Credentials are one row, where they came first; one with a complaint is a row of its own.
const ice = (text, failed = false) => ({ hop: "ice", text, failed });
const [given, again] = [ice("client 0 has TURN credentials"), ice("the instance has TURN credentials")];
const worse = ice("client 0 has TURN credentials, but no relay answers");
const [created, left] = [{ hop: "create", text: "" }, { hop: "client", text: "client 0 has left" }];
assert.deepEqual(rowsOf([created, given, left, again, worse, left]),
  [[created], [given, again], [left], [worse], [left]]);
assert.deepEqual(rowsOf([given]), [[given]]);
