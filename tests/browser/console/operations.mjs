// What operators look after: agents, relays, accounts, figures, the configuration.

import { addEvents, cutEvents, muteEvents } from "../events.mjs";
import {
  SIZES, STREAM_ONLY, STREAM_UI, answered, equal, expectAnswers, go, instead, look, page, role, sees,
} from "./page.mjs";

export async function agents() {
  await role("link", "Agents").click();
  const link = page.locator("console-agents tbody a").first();
  await link.waitFor();
  await look("agents");
  const name = await link.textContent();
  await link.click();
  await role("heading", name).waitFor();
  await look("agent");
  await role("button", "Drain agent").click();
  await page.getByRole("dialog").getByText("It has no session.").waitFor();
  await look("draining-asked");
  expectAnswers(409, `/1.0/agents/${name}/drain`, 1);
  await page.getByRole("dialog").getByRole("button", { name: "Drain agent" }).click();
  // It is the last of its cluster: that is asked once more.
  await role("button", "Drain all the same").click();
  await sees("Nothing left: it can be stopped.");
  await look("agent-drained");
  await role("button", "Have it serve again").click();
  await page.locator('console-agents tr[data-state="serving"]').waitFor();
  await page.keyboard.press("Escape");
  await page.locator("console-agents aside").waitFor({ state: "hidden" });
  await page.goBack();
  await role("heading", name).waitFor();
  await agentsInTrouble();
}

async function agentsInTrouble() {
  const agent = (name, state, more) => ({ name, region: "eu-1", cluster: "c1", version: "0.2.0", state,
    cause: "", free: 40, sessions: 60, places: 100, left: 0, ends_in_s: null, remote_drain: true,
    dependencies: { nats: "ok", ams: "ok", tokens: "ok", turn: "ok" },
    actors: [{ name: "sessions", state: "running", restarts: 0, depth: 0, last_failure: null }],
    alerts: [], ...more });
  const list = [
    agent("agent-1", "serving"),
    agent("agent-2", "draining", { sessions: 12, left: 12, free: 0 }),
    agent("agent-3", "unavailable", { cause: "AMS does not trust the certificate", sessions: 0,
      dependencies: { nats: "ok", ams: "AMS does not trust the certificate" },
      alerts: ["register this agent at AMS: stream-agent ams register"] }),
    agent("agent-4", "silent", { cause: "no answer within 1.5 s", places: 0, sessions: 0 }),
  ];
  const gone = (rows) => rows.map(({ name }) => ["agent.removed", { name }]);
  const real = await page.locator("console-agents tbody tr").getAttribute("data-name");
  await go("#/agents");
  await muteEvents(page, true);
  await addEvents(page, [...gone([{ name: real }]), ...list.map((row) => ["agent", row])]);
  await page.locator('tr[data-state="silent"]').waitFor();
  await look("agents-trouble");
  await go("#/agents/agent-2");
  await sees("12 sessions still to hand over");
  await look("agent-draining");
  await go("#/agents");
  await addEvents(page, gone(list));
  await sees("No agent gives signs of life");
  await look("agents-none");
  await muteEvents(page, false);
  await cutEvents(page);
  await page.locator('tr[data-state="serving"]').waitFor();
}

export async function relays() {
  const way = (transport, binding_us, cause = "") =>
    ({ transport, binding_us, allocate_us: binding_us && binding_us * 2, cause });
  const at = (agent, state, ...transports) => ({ agent, state, cause: "", transports });
  const silent = way("udp", null, "no answer within 3 s");
  const good = (name, micros) => at(name, "good", way("udp", micros), way("tcp", micros * 1.4));
  const list = [
    { pool: "", server: "", state: "silent", agents: [{ agent: "agent-11", state: "silent",
      cause: "NATS gave no answer in time", transports: [] }] },
    { pool: "us", server: "turn:relay-us.example.com:3478?transport=udp", state: "withheld",
      agents: [at("agent-2", "withheld", silent, way("tcp", 92_000)), good("agent-1", 96_000)] },
    { pool: "eu", server: "turn:relay-eu-2.example.com:3478?transport=udp", state: "drained",
      agents: [at("agent-1", "drained", way("udp", 900)), at("agent-2", "drained", way("udp", 700))] },
    { pool: "eu", server: "turns:relay-eu-1.example.com:5349?transport=tcp", state: "good",
      agents: Array.from({ length: 9 }, (_, n) => good(`agent-${n + 1}`, 400 + n * 70)) },
  ];
  const gone = (rows) => rows.map(({ pool, server }) => ["relay.removed", { pool, server }]);
  await muteEvents(page, true);
  const listed = page.waitForResponse((answer) => answer.url().endsWith("/1.0/relays"));
  await role("link", "Relays").click();
  const { metadata: real } = await (await listed).json();
  await page.locator('console-relays tr[data-state="good"]').waitFor();
  // Each takes its place by itself.
  await addEvents(page, [...gone(real), ...list.toReversed().map((row) => ["relay", row])]);
  await page.locator('tr[data-state="withheld"]').waitFor();
  const states = await page.locator("console-relays tbody tr").evaluateAll((rows) =>
    rows.map(({ dataset }) => dataset.state).join());
  equal(states, "silent,withheld,drained,good");
  await sees("Not known: these agents do not answer");
  await sees("NATS gave no answer in time");
  await sees("no answer within 3 s");
  await look("relays");
  await page.getByText("and 5 more agents: all is well").click();
  await sees("agent-9");
  await addEvents(page, gone(list));
  await sees("No agent hands out a relay");
  await look("relays-none");
  await muteEvents(page, false);
  await cutEvents(page);
  await page.locator('console-relays tr[data-state="good"]').waitFor();
}

export async function seeFigures() {
  await role("link", "Figures").click();
  await sees("Requests under way");
  await sees(/all \d+ actors run/);
  const refusals = page.locator(".refusals tbody tr");
  // A token that was not good, at the least: that of the sign-in.
  if (!STREAM_ONLY) await refusals.getByText("its token was not good").waitFor();
  // The second look has something to compare with.
  const requests = page.locator(".plot", { hasText: "Requests" }).first().locator("dd");
  await requests.filter({ hasText: "/s" }).waitFor();
  await figuresOverTime();
}

/** As they are after a while, of a gateway that has something to do. */
async function figuresOverTime() {
  let scrapes = 0;
  const name = "anbox_stream_gateway_";
  instead.set("/metrics", (route) => {
    const n = (scrapes += 1);
    const requests = 900 * n + Math.round(300 * Math.sin(n / 4));
    const bound = (le, part) => `${name}http_request_duration_seconds_bucket{le="${le}",` +
      `handler="get_session"} ${Math.round(requests * part)}`;
    const body = [`${name}build_info{unit="gw-1",version="0.2.0"} 1`,
      `${name}sessions_total{status="active"} ${40 + Math.round(12 * Math.sin(n / 9))}`,
      `${name}http_requests_total{handler="get_session",code="2xx"} ${requests}`,
      `${name}http_requests_total{handler="get_session",code="5xx"} ${n > 20 ? 6 * (n - 20) : 0}`,
      bound("0.005", 0.7), bound("0.01", 0.9), bound("0.025", 0.97), bound("+Inf", 1),
      `${name}http_in_flight_requests ${3 + (n % 5)}`,
      `${name}tls_handshakes_total{kind="full"} ${n * 7}`, `${name}nats_up 1`,
      `${name}actor_state{actor="bridge",state="running"} 1`,
      `${name}actor_state{actor="views",state="restarting"} 1`,
      `${name}http_refused_requests_total{cause="token"} ${17 + n}`,
      `${name}http_refused_requests_total{cause="session_limit"} 4`,
      `${name}http_refused_requests_total{cause="a_later_cause"} 2`].join("\n");
    return route.fulfill({ body, contentType: "text/plain" });
  });
  await page.evaluate(() => {
    const { now } = Date;
    window.ahead = 0;
    Date.now = () => now() + window.ahead;
  });
  await go("#/agents");
  await go("#/figures");
  for (let n = 1; n < 40; n += 1) {
    const shown = page.waitForResponse("**/metrics");
    // Whoever comes back to the tab is shown how it is now.
    await page.evaluate(() => {
      window.ahead += 5_000;
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await shown;
  }
  await sees("gw-1, version 0.2.0");
  await sees("views: restarting");
  await sees("a_later_cause");
  const curve = page.locator(".plot-curve").first();
  const points = (await curve.getAttribute("points")).split(" ");
  if (points.length < 10) throw new Error("there is no line");
  // It takes all the room, though less is known than there may be.
  equal([points[0], points.at(-1)].map((point) => Number.parseInt(point, 10)), [0, 240]);
  await look("figures");
  instead.clear();
  await page.evaluate(() => (window.ahead = 0));
}

export async function accounts() {
  const now = Math.floor(Date.now() / 1000);
  const account = (name, more) => ({ name, created_at: now - 40 * 86_400, expires_at: now + 325 * 86_400,
    last_used_at: now - 1_800, replaced_until: null, ...more });
  const metadata = [
    account("billing", { last_used_at: null, expires_at: null }),
    account("demo"),
    account("kiosk", { own_sessions: true, max_sessions: 3, replaced_until: now + 600 }),
    account("night-shift", { operator: true, expires_at: now + 12 * 86_400 }),
    account("trial", { expires_at: now - 3_600 }),
  ];
  instead.set("/1.0/accounts", (route) => route.fulfill(answered(metadata)));
  await role("link", "Accounts").click();
  await page.locator("console-accounts tbody tr").nth(4).waitFor();
  await look("accounts");
  instead.clear();
  if (STREAM_UI) return;
  await go("#/sessions");
  await go("#/accounts");
  await page.locator("console-accounts tbody tr").getByText("operator").first().waitFor();
}

export async function settings() {
  await role("link", "Configuration").click();
  const field = page.getByLabel("Hours that a share lasts");
  await field.waitFor();
  await look("settings");
  equal(await page.getByRole("button", { name: "Save" }).count(), 0);
  const form = page.locator("form").filter({ has: field });
  await field.focus();
  equal(await page.getByRole("button", { name: "Save" }).count(), 1);
  await look("setting");
  await field.fill("24");
  await form.getByRole("button", { name: "Save" }).click();
  await sees("share.expiry_h is 24 now");
  await form.getByRole("button", { name: "Use the file's value" }).click();
  await sees("share.expiry_h is 12 now");
  await page.setViewportSize(SIZES.phone);
  await go("#/more");
  await role("heading", "More").waitFor();
  await look("more", { sizes: ["phone"] });
  // Where there is a side bar it has it all.
  await role("heading", "Sessions").waitFor();
  await go("#/more");
  await page.waitForFunction(() => location.hash === "#/sessions");
}
