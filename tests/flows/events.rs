//! Sessions, shares and agents as they change, for consoles.

use std::collections::VecDeque;

use crate::support::fleet::{Fleet, Unit};
use crate::support::{APP, STEP_TIMEOUT, light_instances, run_flow};
use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use stream_dev::in_process::Options;
use stream_gateway::admin::{AccountLimits, Client};
use stream_pki::{Trust, client_config};
use toml::toml;

const EVENTS: &str = "/1.0/events";

/// One stream of events at one gateway.
struct Events {
    answer: reqwest::Response,
    read: String,
    waiting: VecDeque<Event>,
    /// What to come back with.
    last: Option<String>,
}

#[derive(Debug)]
struct Event {
    name: String,
    data: Value,
}

async fn ask(unit: &Unit, token: &str, last: Option<&str>) -> anyhow::Result<reqwest::Response> {
    let tls = client_config(&Trust::Pins(vec![unit.nodes.gateway_pin()?]), None)?;
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?;
    let mut request = client.get(format!("{}{EVENTS}", unit.nodes.gateway_url()));
    request = request.header("Authorization", format!("Macaroon root={token}"));
    if let Some(last) = last {
        request = request.header("Last-Event-ID", last);
    }
    Ok(request.send().await?)
}

impl Events {
    async fn open(unit: &Unit, token: &str, last: Option<&str>) -> anyhow::Result<Self> {
        let answer = ask(unit, token, last).await?;
        ensure!(answer.status() == 200, "{answer:?}");
        ensure!(answer.headers()["content-type"] == "text/event-stream", "{answer:?}");
        Ok(Self { answer, read: String::new(), waiting: VecDeque::new(), last: None })
    }

    /// Returns the next event; `None` at the end of the stream.
    async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Some(event));
            }
            let chunk = tokio::time::timeout(STEP_TIMEOUT, self.answer.chunk()).await??;
            let Some(chunk) = chunk else { return Ok(None) };
            self.read.push_str(std::str::from_utf8(&chunk)?);
            while let Some((block, rest)) = self.read.split_once("\n\n") {
                let field = |name: &str| {
                    block.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
                };
                if let Some(last) = field("id") {
                    self.last = Some(last.to_owned());
                }
                if let (Some(name), Some(data)) = (field("event"), field("data")) {
                    let data = serde_json::from_str(data)?;
                    self.waiting.push_back(Event { name: name.to_owned(), data });
                }
                self.read = rest.to_owned();
            }
        }
    }

    /// Returns the first event from here on that is `wanted`.
    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> anyhow::Result<Event> {
        let first = async {
            loop {
                let event = self.next().await?.context("the stream has ended")?;
                if wanted(&event) {
                    return Ok(event);
                }
            }
        };
        tokio::time::timeout(STEP_TIMEOUT, first).await.context("no such event came")?
    }

    async fn session(&mut self, id: &Value, status: &str) -> anyhow::Result<Value> {
        let wanted = |event: &Event| {
            event.name == "session" && event.data["id"] == *id && event.data["status"] == status
        };
        Ok(self.until(wanted).await?.data)
    }

    /// The id to come back with.
    fn last(&self) -> anyhow::Result<&str> {
        self.last.as_deref().context("no event had an id")
    }
}

#[test]
fn whatever_changes_is_told_at_every_gateway_and_to_who_comes_back() {
    run_flow(async || told_everywhere(Options::default()).await);
}

pub(crate) async fn told_everywhere(options: Options) -> anyhow::Result<()> {
    let options = Options { launcher: light_instances(), ..options };
    let mut fleet = Fleet::start(options, 2, 2).await?;
    let operators = Client::new(fleet.gateways[0].socket());
    let token = operators.create_operator("operator", None, AccountLimits::default()).await?;
    let account = ask(&fleet.gateways[0], &fleet.stack.token, None).await?;
    ensure!(account.status() == 403, "an account is no operator");

    let [first, second] = [&fleet.gateways[0], &fleet.gateways[1]];
    let (mut here, mut there) =
        (Events::open(first, &token, None).await?, Events::open(second, &token, None).await?);
    for events in [&mut here, &mut there] {
        ensure!(events.next().await?.context("an event")?.name == "reset");
        for agent in ["agent-0", "agent-1"] {
            let row = events.until(|it| it.name == "agent" && it.data["name"] == agent).await?;
            ensure!(row.data["state"] == "serving", "{row:?}");
        }
    }

    let wanted = json!({"app": APP, "joinable": true, "ephemeral": false, "idle_time_min": 5});
    let created = fleet.http.send(Method::POST, "/1.0/sessions", Some(wanted)).await?.success()?;
    let (id, path) =
        (&created["id"], format!("/1.0/sessions/{}", created["id"].as_str().context("id")?));
    let mut row = Value::Null;
    for events in [&mut here, &mut there] {
        row = events.session(id, "active").await?;
        ensure!(row["agent"].as_str().is_some_and(|agent| agent.starts_with("agent-")), "{row}");
        ensure!(row["client"] == true && row["created_at"].is_number(), "{row}");
    }
    let shared = json!({"type": "control"});
    let share =
        fleet.http.send(Method::POST, &format!("{path}/share"), Some(shared)).await?.success()?;
    let is_share = |name: &'static str| {
        let id = share["id"].clone();
        move |event: &Event| event.name == name && event.data["id"] == id
    };
    for events in [&mut here, &mut there] {
        let row = events.until(is_share("share")).await?;
        ensure!(row.data.get("url").is_none(), "the link is a secret: {row:?}");
    }

    // Who was away is told what changed meanwhile, by another gateway as well, and no more.
    let last = here.last()?.to_owned();
    drop(here);
    let share = format!("/1.0/shares/{}", share["id"].as_str().context("id")?);
    fleet.http.send(Method::DELETE, &share, None).await?.success()?;
    let mut back = Events::open(&fleet.gateways[1], &token, Some(&last)).await?;
    ensure!(back.next().await?.context("an event")?.name == "share.removed");
    there.until(|event| event.name == "share.removed").await?;

    // An id that this store never gave is no place to go on from.
    for strange in ["yesterday", "1-2-3-4-5", "99999999999-1-1-1-1"] {
        let mut events = Events::open(&fleet.gateways[0], &token, Some(strange)).await?;
        ensure!(events.next().await?.context("an event")?.name == "reset", "{strange}");
    }

    // The one that has no session.
    let other = if row["agent"] == "agent-0" { "agent-1" } else { "agent-0" };
    fleet.agent(other)?.process.kill();
    let is_other = |event: &Event| event.data["name"] == other;
    there.until(|it| it.name == "agent" && is_other(it) && it.data["state"] == "silent").await?;
    there.until(|it| it.name == "agent.removed" && is_other(it)).await?;
    fleet.http.send(Method::DELETE, &path, None).await?.success()?;
    there
        .until(|it| {
            let ended = it.name == "session" && it.data["status"] == "terminated";
            it.data["id"] == *id && (ended || it.name == "session.removed")
        })
        .await?;

    // Nobody is told more than the token allows, nor longer.
    operators.delete_account("operator", false).await?;
    let ends = async {
        while there.next().await?.is_some() {}
        anyhow::Ok(())
    };
    tokio::time::timeout(STEP_TIMEOUT, ends).await.context("the stream goes on")??;
    ensure!(ask(&fleet.gateways[0], &token, None).await?.status() == 401);
    Ok(())
}

#[test]
fn a_relay_is_told_and_that_it_answers_no_more() {
    run_flow(async || {
        let options = Options { launcher: light_instances(), coturn: true, ..Options::default() };
        let mut fleet = Fleet::start(options, 1, 1).await?;
        let operators = Client::new(fleet.gateways[0].socket());
        let token = operators.create_operator("operator", None, AccountLimits::default()).await?;
        let mut events = Events::open(&fleet.gateways[0], &token, None).await?;
        let server = fleet.stack.coturn.as_ref().context("a relay")?.url();
        let is_it = |event: &Event| event.name == "relay" && event.data["server"] == server;
        let cause = |event: &Event| {
            let way = &event.data["agents"][0]["transports"][0];
            way["cause"].as_str().unwrap_or("none").to_owned()
        };
        events.until(|event| is_it(event) && cause(event).is_empty()).await?;
        fleet.stack.coturn = None;
        let told = events.until(|event| is_it(event) && !cause(event).is_empty()).await?;
        ensure!(told.data["agents"][0]["agent"] == "agent-0", "{told:?}");
        Ok(())
    });
}

#[test]
fn who_sees_only_its_own_is_told_of_nobody_elses() {
    run_flow(async || {
        let gateway = toml! { gateway.client_grace_s = 1 };
        let options = Options { launcher: light_instances(), gateway, ..Options::default() };
        let fleet = Fleet::start(options, 1, 1).await?;
        let operators = Client::new(fleet.gateways[0].socket());
        let limits = AccountLimits { own_sessions: true, ..AccountLimits::default() };
        let token = operators.create_operator("operator", None, limits).await?;
        let own = fleet.http.with(Some(&token));
        let before = own.create_with_key(APP, "before").await?.success()?;
        let mut events = Events::open(&fleet.gateways[0], &token, None).await?;
        let path = format!("/1.0/sessions/{}", before["id"].as_str().context("id")?);
        own.send(Method::DELETE, &path, None).await?.success()?;
        events
            .until(|event| event.name == "session.removed" && event.data["id"] == before["id"])
            .await?;
        fleet.http.create_with_key(APP, "of another").await?.success()?;
        let created = own.create_with_key(APP, "its own").await?.success()?;
        let told = events.until(|event| event.name.starts_with("session")).await?;
        ensure!(told.data["id"] == created["id"], "{told:?}");

        let mut open = Vec::new();
        for _ in 0..7 {
            open.push(Events::open(&fleet.gateways[0], &token, None).await?);
        }
        ensure!(ask(&fleet.gateways[0], &token, None).await?.status() == 429);
        Ok(())
    });
}
