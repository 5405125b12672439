// Does in the console, in a real browser, what operators do: signs in, creates a session, sees it
// become active, filters, opens, shares and ends it, drains an agent and takes that back; by pointer,
// by keys alone, and by touch on a phone. Looks at every view with axe, in both colour schemes and
// two sizes.
//
//   node console.mjs <address of the gateway> <application>
//
// STREAM_TOKEN is the token of an account and STREAM_OPERATOR_TOKEN that of an operator's, and
// STREAM_GATEWAY_SOCKET the operator's socket of the gateway. Where STREAM_PICTURES is a path, pictures
// of every view are written there, their names in place of its `%`. STREAM_UI names a folder that the
// page is read from instead of the gateway, while somebody works on it, and STREAM_ONLY the steps to be
// done.
//
// Prints an object of figures; when a step fails it says which on stderr and exits with 1.

import path from "node:path";
import process from "node:process";

import { keys } from "./console/keys.mjs";
import { many } from "./console/many.mjs";
import { accounts, agents, relays, seeFigures, settings } from "./console/operations.mjs";
import { STREAM_ONLY, equal, figures, looks, openConsole, page, ui } from "./console/page.mjs";
import { open, share } from "./console/session.mjs";
import { create, empty, end, fields, filter, signIn } from "./console/sessions.mjs";
import { seeShares } from "./console/shares.mjs";
import { away, hidden, moved, narrow, odd, out, readOnly, revoked } from "./console/states.mjs";
import { touch } from "./console/touch.mjs";
import { complained, judge, redact } from "./page.mjs";

const STEPS = {
  "texts: say everything in both languages": sayAll,
  "in: sign in": signIn,
  "empty: begin without a session": empty,
  "create: create a session": create,
  "filter: filter and sort": filter,
  "open: open the session and see its picture": open,
  "share: share it": share,
  "end: end it": end,
  "fields: create one as it is wanted": fields,
  "many: hold 10,000 sessions": many,
  "agents: drain an agent and take that back": agents,
  "relays: see a relay that is withheld": relays,
  "accounts: read the accounts": accounts,
  "shares: see the shares of all sessions": seeShares,
  "figures: see how the gateway does": seeFigures,
  "settings: change the configuration": settings,
  "keys: do it by keys alone": keys,
  "touch: do it by touch": touch,
  "away: get over a gateway that is away": away,
  "hidden: let go while nobody looks": hidden,
  "narrow: fit twice the size": narrow,
  "odd: show long names and those from right to left": odd,
  "moved: move nothing that need not": moved,
  "read: offer no more than a token allows": readOnly,
  "out: be signed out": out,
  "revoked: be signed out by a token that was revoked": revoked,
};

let current = "start the browser";

try {
  await openConsole();
  const begun = Date.now();
  for (const [name, work] of Object.entries(STEPS)) {
    const [short, sentence] = name.split(": ");
    if (STREAM_ONLY && !STREAM_ONLY.split(",").includes(short)) continue;
    current = sentence;
    const started = Date.now();
    await work();
    figures[`${short}_s`] = Math.round((Date.now() - started) / 1_000);
  }
  current = "find no error on the page";
  judge();
  equal(looks.findings, []);
  const { pictures } = looks;
  console.log(JSON.stringify({ ok: true, ...figures, pictures, ms: Date.now() - begun }));
} catch (error) {
  const told = [error.message, ...complained(), ...looks.findings].join(" | ");
  console.error(`could not ${current}: ${redact(told)}`);
  if (page) await looks.picture(page, "failed");
  process.exitCode = 1;
} finally {
  await page?.context().browser().close();
}
process.exit();

async function sayAll() {
  const [{ en }, { de }] = await Promise.all(
    ["en", "de"].map((name) => import(path.join(ui, `console/texts/${name}.js`))));
  equal(Object.keys(de), Object.keys(en));
  const holes = (text) => [...new Set(JSON.stringify(text).match(/\{\w+\}/g) ?? [])].sort().join();
  for (const key of Object.keys(en)) {
    equal(`${key} ${typeof de[key]} ${holes(de[key])}`, `${key} ${typeof en[key]} ${holes(en[key])}`);
  }
}
