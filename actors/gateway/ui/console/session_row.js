// A row of the table of sessions.

import { may } from "./account.js";
import { make, mark, set, write } from "./dom.js";
import { full, span } from "./format.js";
import { address, go } from "./router.js";
import { say } from "./texts.js";

const COLUMNS = [
  { name: "status", cell: (row) => say(`status_${row.status}`) },
  { name: "app", cell: (row) => row.app },
  { name: "region", cell: (row) => row.region },
  { name: "age", cell: (row) => span(Math.max(Date.now() / 1000 - row.created_at, 0)),
    has: (row) => row.created_at !== undefined, figure: true },
  { name: "agent", cell: (row) => row.agent ?? "–", has: (row) => row.agent !== undefined },
  { name: "client", cell: (row) => say(row.client ? "client_there" : "client_none"),
    has: (row) => row.client !== undefined },
  { name: "message", cell: (row) => row.status_message },
  { name: "id", cell: (row) => row.id },
];

/** Returns the columns for `sessions`: one is there when the API tells what belongs in it. */
export function columnsOf(sessions) {
  return COLUMNS.filter(({ has }) => !has || sessions.some(has));
}

/** Returns the row of the session `id`, which `fillRow` fills. */
export function makeRow(id, columns, { choose, visit }) {
  const tick = () => make("label", { class: "tick" }, make("input", {
    type: "checkbox", onchange: ({ target }) => choose(id, target.checked),
  }));
  const open = ({ target }) => {
    // A selection of text is no click on the row.
    if (target.closest("a, label, input") || String(getSelection())) return;
    go(address("sessions", id));
  };
  const cells = columns.map(({ name, figure }) =>
    make("td", { role: "cell", class: `${name}${figure ? " figure" : ""}`, dir: "auto" },
      name === "app" && make("a", { href: address("sessions", id), dir: "auto" })));
  return make("tr", { role: "row", "data-id": id, onfocusin: () => visit(id), onclick: open },
    may("session.delete") && make("td", { role: "cell", class: "pick" }, tick()), cells);
}

/** Brings `tr` up to date with `session`. */
export function fillRow(tr, session, chosen) {
  set(tr, "data-status", session.status);
  tr.classList.toggle("gone", Boolean(session.gone));
  const tick = tr.querySelector("input");
  if (tick) {
    tick.checked = chosen;
    tick.disabled = session.status === "terminated";
    set(tick, "aria-label", say("select_one", { app: session.app, id: session.id }));
    tr.classList.toggle("chosen", chosen);
  }
  for (const { name, cell } of COLUMNS) {
    const td = tr.querySelector(`td.${name}`);
    if (td) fillCell(td, name, cell(session), session);
  }
}

function fillCell(td, name, text, session) {
  const before = td.dataset.said;
  if (before === text) return;
  td.dataset.said = text;
  if (name === "status") td.replaceChildren(mark(session.status, text));
  else if (name === "app") write(td.querySelector("a"), text);
  else td.textContent = text;
  if (name === "message" || name === "app") td.title = text;
  if (name === "age") td.title = full(session.created_at);
  else if (before !== undefined) flash(td);
}

/** Underlines what has changed, for a moment. */
function flash(td) {
  td.classList.remove("changed");
  // The animation begins anew only after the page has been laid out without it.
  void td.offsetWidth;
  td.classList.add("changed");
}
