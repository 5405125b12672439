//! Instances that go over REST, over their sockets, or change between the two, in whole sessions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::socket::Socket;
use crate::support::{APP, Http, STEP_TIMEOUT, ScriptedStack, becomes, run_flow};
use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use stream_dev::in_process::{Options, Stack};
use stream_dev::keys::KeyStore;
use stream_pki::{Trust, client_config};
use stream_protocol::{Screen, TokenKind, Userdata};
use stream_simulators::ams::simulated_instances_with;
use stream_simulators::client::{Milestone, Viewer};
use stream_simulators::instance::{Behaviour, PeerOptions, Relaying, Transport};
use stream_tokens::Mint;
use toml::toml;

/// The token of somebody who reads what the agent counts.
struct Watcher(Http);

impl Watcher {
    async fn of(stack: &Stack) -> anyhow::Result<Self> {
        let minted = stack.agent.tokens.mint(Mint::new(TokenKind::Monitor, "watcher")).await?;
        let nodes = &stack.nodes;
        Ok(Self(Http::new(&nodes.agent_url(), Some(&minted.token), nodes.agent_pin()?)?))
    }

    /// Returns how many requests the agent has answered at `path` below a session.
    async fn requests(&self, method: &str, path: &str) -> anyhow::Result<u64> {
        let answer = self.0.get("/metrics").await?;
        let text = answer.body.as_str().context("text")?.to_owned();
        let handler = format!("http_requests_total{{handler=\"/1.0/sessions/{{id}}{path}\",");
        let method = format!("method=\"{method}\"");
        let lines = text.lines().filter(|line| line.contains(&handler) && line.contains(&method));
        let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(counts.sum())
    }

    /// Returns how many sockets the instance has opened, and how many requests it has made in
    /// their place.
    async fn transports(&self) -> anyhow::Result<(u64, u64)> {
        let mut sockets = 0;
        for path in ["/sockets/control", "/sockets/master"] {
            sockets += self.requests("GET", path).await?;
        }
        let mut rest = self.requests("PATCH", "").await?;
        for (method, path) in [("GET", "/commands"), ("GET", "/signals"), ("POST", "/signals")] {
            rest += self.requests(method, path).await?;
        }
        Ok((sockets, rest))
    }
}

fn over(transport: Transport) -> Options {
    let behaviour = Behaviour { transport, ..Behaviour::default() };
    Options { launcher: simulated_instances_with(behaviour), ..Options::default() }
}

/// A session from its creation to its end, with one client that replaces another.
async fn lives(options: Options) -> anyhow::Result<(u64, u64)> {
    let stack = Stack::start(options).await?;
    let watcher = Watcher::of(&stack).await?;
    let client = stack.client()?;
    let pins = vec![stack.nodes.gateway_pin()?];
    let created = client.create(APP, Screen::default()).await?;
    let first = Viewer::connect(&created, pins.clone()).await?;
    first.wait_frames(10, STEP_TIMEOUT).await?;
    becomes(&client, &created.id, "active").await?;
    first.tap(320.0, 180.0, STEP_TIMEOUT).await?;
    first.wait_mark(320, 180, STEP_TIMEOUT).await?;

    let joined = client.join(&created.id).await?;
    let second = Viewer::connect(&joined, pins).await?;
    first.wait_event(Milestone::Closed, STEP_TIMEOUT).await?;
    second.wait_frames(10, STEP_TIMEOUT).await?;
    second.tap(100.0, 100.0, STEP_TIMEOUT).await?;
    second.wait_mark(100, 100, STEP_TIMEOUT).await?;

    client.delete(&created.id).await?;
    second.wait_event(Milestone::Closed, STEP_TIMEOUT).await?;
    stack.ams.wait_until(|instances| instances.is_empty(), STEP_TIMEOUT).await?;
    becomes(&client, &created.id, "terminated").await?;
    let transports = watcher.transports().await?;
    stack.stop().await;
    Ok(transports)
}

#[test]
fn a_session_lives_over_long_polls() {
    run_flow(async || {
        let (sockets, rest) = lives(over(Transport::Rest)).await?;
        ensure!(sockets == 0 && rest > 0, "{sockets} sockets, {rest} requests");
        Ok(())
    });
}

#[test]
fn a_session_lives_over_sockets() {
    run_flow(async || {
        let (sockets, rest) = lives(over(Transport::Socket)).await?;
        ensure!(sockets >= 2 && rest == 0, "{sockets} sockets, {rest} requests");
        Ok(())
    });
}

#[test]
fn a_session_lives_over_both_in_turns() {
    run_flow(async || {
        let (sockets, rest) = lives(over(Transport::Hop)).await?;
        ensure!(sockets > 0 && rest > 0, "{sockets} sockets, {rest} requests");
        Ok(())
    });
}

#[test]
fn the_sockets_of_an_instance_have_both_spellings() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (_, instance) = scripted.create().await?;
        let Userdata { agent_url, session_id, token, .. } = &instance.userdata;
        let base = agent_url.replacen("https", "wss", 1);
        let pins = Trust::Pins(vec![scripted.stack.nodes.agent_pin()?]);
        let tls = Arc::new(client_config(&pins, None)?);
        for name in ["session", "sessions"] {
            for slash in ["", "/"] {
                let path = format!("{base}/1.0/{name}/{session_id}/sockets");
                let url = format!("{path}/master{slash}?after=");
                let mut signaling = Socket::open_as(&url, &tls, Some(token)).await?;
                assert_eq!(signaling.next().await?["type"], "resumed", "{url}");
                let url = format!("{path}/control{slash}");
                let mut control = Socket::open_as(&url, &tls, Some(token)).await?;
                assert_eq!(control.next().await?["desired"], "running", "{url}");
            }
        }
        Ok(())
    });
}

/// Asks the instance `count` times at once, and takes as many answers.
async fn exchange(client: &mut Socket, count: usize) -> anyhow::Result<()> {
    for _ in 0..count {
        client.send(&json!({ "type": "discover" })).await?;
    }
    for _ in 0..count {
        let answer = client.next().await?;
        ensure!(answer["type"] == "resp:discover", "{answer}");
    }
    Ok(())
}

/// Counts the changes of a hopping instance, which runs in the process of the test.
static CHANGES: Changes = Changes(AtomicU64::new(0));

struct Changes(AtomicU64);

impl log::Log for Changes {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("stream_simulators::instance::transport")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata())
            && record.args().as_str() == Some("the transport changes")
        {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

/// Exchanges signals until the instance has changed its transport so often meanwhile.
async fn exchange_under_changes(client: &mut Socket, changes: u64) -> anyhow::Result<()> {
    let before = CHANGES.0.load(Ordering::Relaxed);
    for round in 0..150 {
        // One after the other, and several that the changes fall between.
        exchange(client, 1 + round % 4).await?;
        if CHANGES.0.load(Ordering::Relaxed) >= before + changes {
            return Ok(());
        }
    }
    anyhow::bail!("the instance keeps its transport")
}

#[test]
fn an_instance_that_changes_its_transport_loses_and_doubles_no_signal() {
    log::set_logger(&CHANGES).expect("no other logger");
    log::set_max_level(log::LevelFilter::Debug);
    run_flow(async || {
        let stack = Stack::start(over(Transport::Hop)).await?;
        let client = stack.client()?;
        let created = client.create(APP, Screen::default()).await?;
        let mut first = Socket::open(&created, &stack).await?;
        exchange_under_changes(&mut first, 20).await?;
        // A command reaches it as well, and the next client is served as the first was.
        let joined = client.join(&created.id).await?;
        let mut second = Socket::open(&joined, &stack).await?;
        exchange_under_changes(&mut second, 6).await?;
        // One answer too many would come before the offer.
        let settings = json!({ "type": "settings", "api_version": 2, "enable_video": true });
        second.send(&settings).await?;
        let types =
            [second.next().await?, second.next().await?].map(|signal| signal["type"].clone());
        assert_eq!(types, ["offer", "candidate"].map(Value::from));
        client.delete(&created.id).await?;
        stack.ams.wait_until(|instances| instances.is_empty(), STEP_TIMEOUT).await?;
        Ok(())
    });
}

#[test]
fn a_hopping_instance_goes_on_with_an_agent_that_was_restarted() {
    run_flow(async || {
        for transport in [Transport::Socket, Transport::Hop] {
            let mut stack = Stack::start(over(transport)).await?;
            let client = stack.client()?;
            let created = client.create(APP, Screen::default()).await?;
            let mut socket = Socket::open(&created, &stack).await?;
            exchange(&mut socket, 3).await?;
            becomes(&client, &created.id, "active").await?;
            stack.restart_agent().await?;
            exchange(&mut socket, 3).await.context("after the restart")?;
            stack.stop().await;
        }
        Ok(())
    });
}

#[test]
fn an_agent_that_names_no_certificate_is_trusted_by_its_authority() {
    run_flow(async || {
        let authority = KeyStore::shared()?.pair("agent")?.certificate;
        for transport in [Transport::Rest, Transport::Socket, Transport::Hop] {
            let authority = Some(authority.clone());
            let behaviour = Behaviour { transport, authority, ..Behaviour::default() };
            let stack = Stack::start(Options {
                launcher: simulated_instances_with(behaviour),
                agent: toml! { agent.pin = false },
                ..Options::default()
            })
            .await?;
            let client = stack.client()?;
            let created = client.create(APP, Screen::default()).await?;
            let viewer = Viewer::connect(&created, vec![stack.nodes.gateway_pin()?]).await?;
            viewer.wait_frames(3, STEP_TIMEOUT).await?;
            stack.stop().await;
        }
        Ok(())
    });
}

/// The names of those of `session` who got an address at the relay, without the time until which
/// they hold.
fn relayed(log: &str, session: &str) -> BTreeSet<String> {
    let lines = log.lines().filter(|line| line.contains("ALLOCATE processed, success"));
    let users = lines.filter_map(|line| line.split_once("user <")?.1.split_once('>'));
    let names = users.filter_map(|(user, _)| Some(user.split_once(':')?.1.to_owned()));
    names.filter(|name| name.starts_with(session)).collect()
}

#[test]
fn a_session_plays_when_both_sides_have_nothing_but_the_relay() {
    run_flow(async || {
        let peers = PeerOptions { relaying: Relaying::Only, ..PeerOptions::default() };
        let behaviour = Behaviour { peers, ..Behaviour::default() };
        let launcher = simulated_instances_with(behaviour);
        let options = Options { launcher, coturn: true, ..Options::default() };
        let stack = Stack::start(options).await?;
        let client = stack.client()?;
        let created = client.create(APP, Screen::default()).await?;
        let pins = vec![stack.nodes.gateway_pin()?];
        // Each has one candidate alone, so that the pair that media takes is of two relayed ones.
        let viewer = Viewer::connect_over(&created, pins, Relaying::Only).await?;
        viewer.wait_frames(30, STEP_TIMEOUT).await?;
        viewer.tap(320.0, 180.0, STEP_TIMEOUT).await?;
        viewer.wait_mark(320, 180, STEP_TIMEOUT).await?;
        viewer.disconnect().await;
        let log = stack.coturn.as_ref().context("the relay")?.log()?;
        let both = ["client", "instance"].map(|side| format!("{}-{side}", created.id));
        assert_eq!(relayed(&log, &created.id), BTreeSet::from(both));
        stack.stop().await;
        Ok(())
    });
}

#[test]
fn an_instance_may_be_reached_at_two_addresses_and_through_its_relay() {
    run_flow(async || {
        let address = Some("127.0.0.2".parse()?);
        let peers = PeerOptions { address, relaying: Relaying::Also, ..PeerOptions::default() };
        let behaviour = Behaviour { peers, ..Behaviour::default() };
        let launcher = simulated_instances_with(behaviour);
        let options = Options { launcher, coturn: true, ..Options::default() };
        let stack = Stack::start(options).await?;
        let client = stack.client()?;
        let created = client.create(APP, Screen::default()).await?;
        let mut socket = Socket::open(&created, &stack).await?;
        let settings = json!({ "type": "settings", "api_version": 2, "enable_video": true });
        socket.send(&settings).await?;
        assert_eq!(socket.next().await?["type"], "offer");
        let mut seen = Vec::new();
        for _ in 0..3 {
            let text = socket.next().await?["candidate"].as_str().context("text")?.to_owned();
            let candidate = String::from_utf8(STANDARD.decode(text)?)?;
            let words: Vec<_> = candidate.split(' ').collect();
            // The fifth is the address; the port and "typ" stand between it and the kind.
            let (ip, kind) = (words.get(4), words.get(7));
            seen.push(format!("{} {}", kind.context("a kind")?, ip.context("an address")?));
        }
        assert_eq!(seen, ["host 127.0.0.1", "host 127.0.0.2", "relay 127.0.0.1"]);
        stack.stop().await;
        Ok(())
    });
}
