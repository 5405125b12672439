// What the gateway knows, kept fresh while somebody looks: by one stream of events, or by asking
// again and again where the token, or the gateway, gives none.

import { account, ask, isSignedIn, may } from "./account.js";
import { EventStream } from "./event_stream.js";
import { ONCE, follow } from "./poll.js";
import { RowStore } from "./row_store.js";

export { connection } from "./connection.js";
export { follow } from "./poll.js";

const EVERY_MS = 2_000;
const STREAM_AGAIN_MS = 60_000;
const PAGE = 1_000;
// So many may go between one page and the next, without another one being passed over.
const OVERLAP = 50;
// What a relay may be.
const WORST_FIRST = ["silent", "withheld", "drained", "good"];
// A session of another status has no shares.
const LIVE = ["created", "active"];

const sessions = new RowStore({ list: everySession });
const agents = new RowStore({ list: () => rowsAt("agents"), key: (row) => row.name });
const placeOf = ({ pool, server }) => `${pool} ${server}`;
const relays = new RowStore({ list: () => rowsAt("relays"), key: placeOf });

// By the first part of the name of an event.
const stores = {
  session: new Set([sessions]), agent: new Set([agents]), relay: new Set([relays]), share: new Set(),
};

// Told which session is over: that its shares are, too, no event says.
const ended = new Set();

// How often what the events tell of is asked for; it is not known before there is a stream.
let every;
let streamAgain;

const stream = new EventStream({
  event({ name, data }) {
    const [kind, removed] = name.split(".");
    if (kind === "reset") return listAnew();
    const over = kind === "session" && (removed || !LIVE.includes(data.status));
    if (over) for (const drop of ended) drop(data.id);
    for (const store of stores[kind] ?? []) {
      if (removed) store.remove(data);
      else store.put(data);
    }
  },
  opened() {
    // Those that went while there was no stream are not told.
    if (every !== ONCE) return;
    agents.reset();
    relays.reset();
  },
  refused() {
    begin(EVERY_MS);
    streamAgain = setTimeout(() => may("event.read") && stream.start(), STREAM_AGAIN_MS);
  },
});

account.addEventListener("change", () => {
  if (isSignedIn()) return;
  stream.stop();
  clearTimeout(streamAgain);
  every = undefined;
  for (const store of all()) store.end();
});

/**
 * Tells `tell` all sessions, and then what has changed, as `RowStore.follow` does; with `ended`
 * those that are over, all of them each time. Returns `{stop, again}`.
 */
export function subscribe(tell, { ended = false, refused } = {}) {
  const rows = (listed) => tell(new Map(listed.map((row) => [row.id, row])));
  // No event tells of those that are over already.
  if (ended) return follow(() => everySession("&status=terminated"), rows, refused);
  connect();
  return sessions.follow(tell, refused);
}

/** Tells `tell` the agents, by name, now and after each change. Returns `{stop, again}`. */
export function followAgents(tell, refused) {
  connect();
  const byName = (one, other) => (one.name < other.name ? -1 : 1);
  return agents.follow((rows) => tell([...rows.values()].sort(byName)), refused);
}

/** Tells `tell` the relays, the worst first, now and after each change. Returns `{stop, again}`. */
export function followRelays(tell, refused) {
  connect();
  return relays.follow((rows) => tell([...rows.values()].sort(worseThan)), refused);
}

function worseThan(one, other) {
  const rank = ({ state }) => WORST_FIRST.indexOf(state);
  return rank(one) - rank(other) || (placeOf(one) < placeOf(other) ? -1 : 1);
}

/** Tells `tell` the session called `id`, now and after each change. Returns `{stop, again}`. */
export function followSession(id, tell, refused) {
  const path = `sessions/${encodeURIComponent(id)}`;
  const list = async () => [(await ask("GET", path)).metadata];
  const store = new RowStore({ list, holds: (row) => row.id === id, relists: true });
  return add("session", store, (rows) => rows.size && tell(rows.get(id)), refused);
}

/**
 * Tells `tell` the shares of the session `id`, or of all without one, the oldest first, now and
 * after each change. Returns `{stop, again}`.
 */
export function followShares(id, tell, refused) {
  const all = id === undefined;
  const of = all ? "" : `&session_id=${encodeURIComponent(id)}`;
  const list = () => rowsAt(`shares?recursion=1${of}`);
  const store = new RowStore({ list, holds: (row) => all || row.session_id === id });
  const byAge = (one, other) => one.created_at - other.created_at || (one.id < other.id ? -1 : 1);
  const following = add("share", store, (rows) => tell([...rows.values()].sort(byAge)), refused);
  if (!all) return following;
  const drop = (session) => store.removeAll((row) => row.session_id === session);
  ended.add(drop);
  return { ...following, stop: () => (ended.delete(drop), following.stop()) };
}

/** Has a store be there while somebody follows it. */
function add(kind, store, tell, refused) {
  connect();
  stores[kind].add(store);
  const following = store.follow(tell, refused);
  if (every) store.begin(every);
  const stop = () => {
    stores[kind].delete(store);
    following.stop();
    store.end();
  };
  return { ...following, stop };
}

function connect() {
  if (every || !isSignedIn()) return;
  if (may("event.read")) stream.start();
  else begin(EVERY_MS);
}

function begin(often) {
  every = often;
  for (const store of all()) store.begin(often);
}

/** Every stream begins with it that does not go on where another one ended. */
function listAnew() {
  if (every !== ONCE) return begin(ONCE);
  for (const store of all()) store.reset();
}

function all() {
  return Object.values(stores).flatMap((kind) => [...kind]);
}

async function rowsAt(path) {
  return (await ask("GET", path)).metadata;
}

async function everySession(status = "") {
  const found = new Map();
  for (let offset = 0; ; offset += PAGE - OVERLAP) {
    const path = `sessions?recursion=1&limit=${PAGE}&offset=${offset}${status}`;
    const page = await rowsAt(path);
    for (const session of page) found.set(session.id, session);
    if (page.length < PAGE) return [...found.values()];
  }
}
