// The player alone, in a frame of somebody else's page. It takes the link of one session's share.

import { Api } from "../api.js";
import { read } from "../console/token.js";
import { joinSession, sessionNow } from "../player/join.js";
import "../player/player.js";
import { current, say } from "../player/texts.js";
import { Parent } from "./parent.js";

/** Ends that are nobody's fault. */
const CALM = ["left", "replaced", "session_over", "closed"];

const player = document.getElementById("player");
const listed = document.querySelector('meta[name="embed-origins"]').content.split(" ").filter(Boolean);
const around = new Parent(listed, disconnect);
let ready = false;

/** Takes what is asked for out of the address, which holds a token and must not stay in view. */
function takeFragment() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
  return Object.fromEntries(fragment);
}

function begin({ session: id, share, relay }) {
  const token = read(share ?? "");
  if (around.refused) return refuse("embed_origin");
  // A token that opens more than this one session has no place in a page of others.
  if (!id || token.session !== id) return refuse("embed_token");
  const api = new Api(share);
  ready = false;
  player.play({
    role: token.role === "view" ? "view" : "control",
    relayOnly: relay === "1",
    fits: true,
    join: (wanted) => joinSession(api, id, wanted),
    session: () => sessionNow(api, id),
  });
}

function refuse(cause) {
  player.explain(say(cause), say(`${cause}_remedy`));
  around.tell("error", { cause, message: say(cause) });
}

function disconnect() {
  if (!player.dataset.state) return;
  player.stop();
  player.explain(say("left"));
  around.tell("ended", { cause: "disconnected", message: say("left") });
}

player.addEventListener("state", ({ detail: { state, words, cause } }) => {
  if (state === "playing" && !ready) {
    ready = true;
    around.tell("ready");
  }
  if (state === "over") around.tell(CALM.includes(cause) ? "ended" : "error", { cause, message: words });
});

document.documentElement.lang = current();
addEventListener("hashchange", () => location.hash && begin(takeFragment()));
begin(takeFragment());
