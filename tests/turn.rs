//! TURN credentials against real relays: who may relay, which relays are handed out, a new secret
//! without a refused client, and a stream that outlives its credentials.

mod support;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use serde_json::Value;
use stream_agent::dev::coturn::Coturn;
use stream_agent::dev::keys::KeyStore;
use stream_agent::dev::nats::Nats;
use stream_agent::dev::stack::{Options, Stack};
use stream_bridge::Bridge;
use stream_pki::random_text;
use stream_protocol::{IceServer, SessionId};
use stream_supervisor::Supervisor;
use stream_turn::{
    Config, Credential, Rotation, Server, Side, Signer, Turn, TurnError, Verdict, try_relay,
};
use support::{APP, PATIENCE, eventually, flow};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// The pool of the relays that are in no other.
const POOL: &str = "default";

/// Between two probes of a relay.
const PROBE: Duration = Duration::from_secs(2);

/// Real relays, and the actor that issues credentials for them.
struct Relays {
    turn: Turn,
    relays: Vec<Coturn>,
    secret: String,
    supervisor: Supervisor,
    _nats: Nats,
    _dir: tempfile::TempDir,
}

impl Relays {
    /// Starts `number` relays, and returns once credentials are issued.
    async fn start(number: usize, lifetime_s: u64) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let at = |name: &str| dir.path().join(name);
        let secret = random_text(64).to_string();
        let start = |n| Coturn::start(&at(&format!("coturn{n}")), &secret);
        let relays = (0..number).map(start).collect::<anyhow::Result<Vec<_>>>()?;
        let nats = Nats::start(&at("nats"), &KeyStore::shared()?)?;
        std::fs::write(at("sealing.key"), "s".repeat(32))?;
        std::fs::write(at("turn.secret"), &secret)?;
        let supervisor = Supervisor::default();
        let config = stream_bridge::Config {
            servers: vec![nats.url()],
            ca: nats.ca(),
            token: Some(nats.token()),
            credentials: None,
            certificate: None,
            key: None,
            replicas: 1,
        };
        let bridge = Bridge::start(config, "test", &supervisor)?;
        let config = Config {
            servers: relays.iter().map(|relay| Server { urls: vec![relay.url()] }).collect(),
            pools: Vec::new(),
            stun: Vec::new(),
            lifetime_s,
            probe_s: PROBE.as_secs(),
            sealing_key: at("sealing.key"),
            first_secret: at("turn.secret"),
            state: at("state"),
        };
        let turn = Turn::start(config, bridge, &supervisor)?;
        eventually("ready", async || Ok(turn.ready().await.ok())).await?;
        Ok(Self { turn, relays, secret, supervisor, _nats: nats, _dir: dir })
    }

    async fn issue(&self) -> anyhow::Result<Vec<IceServer>> {
        Ok(self.turn.issue(&SessionId::random(), Side::Client, "").await?)
    }

    /// The numbers of the relays in a new list.
    async fn handed_out(&self) -> anyhow::Result<BTreeSet<usize>> {
        let servers = self.issue().await?;
        let number = |server: &IceServer| {
            self.relays.iter().position(|relay| server.urls == [relay.url()]).context("a stranger")
        };
        servers.iter().map(number).collect()
    }

    /// Returns how long it takes until `relay` is in new lists, or no longer is; the others are in
    /// all of them.
    async fn until(&self, relay: usize, present: bool) -> anyhow::Result<Duration> {
        let (begun, all) = (Instant::now(), self.relays.len());
        eventually("so", async || {
            let handed_out = self.handed_out().await?;
            let others = (0..all).filter(|other| *other != relay);
            anyhow::ensure!(others.into_iter().all(|other| handed_out.contains(&other)));
            Ok((handed_out.contains(&relay) == present).then_some(()))
        })
        .await?;
        Ok(begun.elapsed())
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

/// Whether the relay's own client can relay as this user.
async fn relays(relay: &Coturn, username: &str, password: &str) -> anyhow::Result<bool> {
    let mut client = Command::new("turnutils_uclient");
    client.args(["-n", "1", "-m", "1", "-c", "-y", "-u", username, "-w", password]);
    client.args(["-p", &relay.port().to_string(), "127.0.0.1"]);
    let output = client.kill_on_drop(true).output();
    Ok(tokio::time::timeout(PATIENCE, output).await??.status.success())
}

fn credential(server: &IceServer) -> anyhow::Result<(String, String)> {
    let both = server.username.clone().zip(server.password.clone());
    both.context("a relay without a credential")
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs())
}

#[test]
fn a_minted_credential_relays_and_no_other_does() {
    flow(async || {
        let bench = Relays::start(1, 3600).await?;
        let relay = &bench.relays[0];
        let (username, password) = credential(&bench.issue().await?[0])?;
        assert!(relays(relay, &username, &password).await?);

        let session = SessionId::random();
        let expired = Signer::new(&bench.secret).session(&session, Side::Client, now() - 1);
        assert!(!relays(relay, &expired.username, &expired.password).await?, "expired");
        let wrong = Signer::new(&"x".repeat(64)).session(&session, Side::Client, now() + 60);
        assert!(!relays(relay, &wrong.username, &wrong.password).await?, "another secret");
        let changed = format!("9{username}");
        assert!(!relays(relay, &changed, &password).await?, "a longer life, as the user says");
        Ok(())
    });
}

#[test]
fn a_relay_that_dies_or_hangs_is_withheld_and_comes_back_and_the_list_is_never_empty() {
    flow(async || {
        let mut bench = Relays::start(3, 3600).await?;
        assert_eq!(bench.handed_out().await?.len(), 3);
        let secret = bench.secret.clone();

        bench.relays[0].process().kill();
        assert!(bench.until(0, false).await? <= 2 * PROBE, "killed");
        bench.relays[0].restart(&[&secret])?;
        assert!(bench.until(0, true).await? <= 3 * PROBE, "restarted");

        bench.relays[1].process().suspend()?;
        assert!(bench.until(1, false).await? <= 2 * PROBE, "hanging");
        let table = bench.turn.probe().await?;
        assert!(table[1].answered.binding.is_err() && table[1].verdict == Verdict::Withheld);
        assert!(table[2].answered.allocate.is_ok() && table[2].verdict == Verdict::Good);
        bench.relays[1].process().wake()?;
        assert!(bench.until(1, true).await? <= 3 * PROBE, "awake");

        let urls: Vec<_> = bench.relays.iter().map(Coturn::url).collect();
        bench.turn.drain(&urls[2], true).await?;
        assert_eq!(bench.handed_out().await?, BTreeSet::from([0, 1]), "drained at once");
        bench.turn.relays().await?;
        bench.relays[0].process().kill();
        bench.relays[1].process().kill();
        let trouble = async || Ok(bench.turn.relays().await.err());
        let trouble = eventually("in trouble", trouble).await?;
        let left = bench.issue().await?;
        assert_eq!(left.len(), 1, "the least bad, and not the drained one: {left:?}");
        assert_ne!(left[0].urls, [urls[2].as_str()]);
        assert!(trouble.to_string().contains("as the least bad"), "{trouble}");

        bench.turn.drain(&urls[2], false).await?;
        bench.turn.drain(&urls[0], true).await?;
        bench.turn.drain(&urls[1], true).await?;
        let last = bench.turn.drain(&urls[2], true).await;
        assert!(matches!(last, Err(TurnError::Refused(_))), "the last one cannot be drained");
        assert_eq!(bench.handed_out().await?, BTreeSet::from([2]));
        Ok(())
    });
}

/// Asks every relay for an allocation as new sessions do, one after the other, until `work` is
/// done; fails when one is refused. Returns their user names.
async fn under_new_sessions(
    turn: &Turn,
    relays: usize,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Vec<String>> {
    let mut users = Vec::new();
    let stream = async {
        loop {
            let servers = turn.issue(&SessionId::random(), Side::Client, "").await?;
            anyhow::ensure!(servers.len() == relays, "a relay is missing");
            for server in &servers {
                let (username, password) = credential(server)?;
                let credential = Credential { username, password };
                try_relay(&server.urls[0], &credential, PATIENCE).await?;
            }
            users.push(credential(&servers[0])?.0);
            // A steady stream, not a flood.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        done = work => done?,
        Err::<(), anyhow::Error>(error) = stream => return Err(error),
    }
    Ok(users)
}

/// The lines in which a relay refuses somebody who said who they are; probes of ours aside, which
/// are there to be refused.
fn refusals(log: &str) -> Vec<&str> {
    let refusal = |line: &&str| {
        let codes = ["error 437", "error 438", "error 441"];
        let named = line.contains("error 401") && !line.contains("user <>");
        (named || codes.iter().any(|code| line.contains(code))) && !line.contains(":probe>")
    };
    log.lines().filter(refusal).collect()
}

#[test]
fn a_new_secret_takes_over_without_a_refused_session() {
    flow(async || {
        let mut bench = Relays::start(3, 10).await?;
        let (turn, relays) = (bench.turn.clone(), &bench.relays);
        let old = Signer::new(&bench.secret);
        let mut new = String::new();
        let rotated = async {
            // Nobody has it yet: nothing changes.
            let Rotation::Waiting { secret, refusals } = turn.rotate(POOL).await? else {
                anyhow::bail!("an unknown secret was accepted");
            };
            assert_eq!(refusals.len(), 3, "{refusals:?}");
            relays[0].add_secret(secret.reveal())?;
            relays[1].add_secret(secret.reveal())?;
            let Rotation::Waiting { secret: same, refusals } = turn.rotate(POOL).await? else {
                anyhow::bail!("one relay does not have it");
            };
            assert_eq!(same.reveal(), secret.reveal());
            let named: Vec<_> = refusals.iter().map(|refusal| refusal.server.as_str()).collect();
            assert_eq!(named, [relays[2].url()]);
            let session = SessionId::random();
            let servers = turn.issue(&session, Side::Client, "").await?;
            let (username, password) = credential(&servers[0])?;
            let expiry: u64 = username.split(':').next().context("an expiry")?.parse()?;
            assert_eq!(old.session(&session, Side::Client, expiry).password, password);

            relays[2].add_secret(secret.reveal())?;
            let rotation = turn.rotate(POOL).await?;
            assert!(matches!(rotation, Rotation::Switched { .. }), "{rotation:?}");
            new = secret.reveal().to_owned();
            // Some sessions more, with the new one.
            tokio::time::sleep(PROBE).await;
            Ok(())
        };
        let users = under_new_sessions(&turn, 3, rotated).await?;
        assert!(users.len() >= 10, "only {} sessions", users.len());
        for relay in relays {
            let log = relay.log()?;
            // A relay keeps a released allocation for a second: a socket that comes upon the port of
            // one is sent to another port (437), whatever its secret, and gets its allocation there.
            let refusals = refusals(&log).into_iter().filter(|line| !line.contains("error 437"));
            assert_eq!(refusals.collect::<Vec<_>>(), Vec::<&str>::new());
            let refused = |user: &&String| {
                !log.contains(&format!("<{user}>: incoming packet ALLOCATE processed, success"))
            };
            assert_eq!(users.iter().find(refused), None, "a session without an allocation");
        }

        let (session, signer) = (SessionId::random(), Signer::new(&new));
        let servers = turn.issue(&session, Side::Client, "").await?;
        let (username, password) = credential(&servers[0])?;
        let expiry: u64 = username.split(':').next().context("an expiry")?.parse()?;
        assert_eq!(signer.session(&session, Side::Client, expiry).password, password);
        assert!(matches!(turn.rotate(POOL).await, Err(TurnError::Refused(_))), "two are live");
        assert!(matches!(turn.retire(POOL).await, Err(TurnError::Refused(_))), "too early");

        let before = old.session(&session, Side::Client, now() + 60);
        assert!(self::relays(&bench.relays[0], &before.username, &before.password).await?);
        if std::env::var_os("STREAM_TEST_LONG").is_some() {
            tokio::time::sleep(Duration::from_secs(41)).await;
            assert_eq!(turn.retire(POOL).await?.len(), 3, "it is still on all relays");
        }
        for relay in &mut bench.relays {
            relay.restart(&[&new])?;
        }
        let relay = &bench.relays[0];
        assert!(!self::relays(relay, &before.username, &before.password).await?);
        let after = signer.session(&session, Side::Client, now() + 60);
        assert!(self::relays(relay, &after.username, &after.password).await?);
        if std::env::var_os("STREAM_TEST_LONG").is_some() {
            assert!(turn.retire(POOL).await?.is_empty());
        }
        Ok(())
    });
}

#[test]
fn an_operator_tries_the_relays_and_changes_the_secret_on_the_command_line() {
    flow(async || {
        let stack = Stack::start(Options { coturn: true, ..Options::default() }).await?;
        let relay = stack.coturn.as_ref().context("the relay")?;
        let socket = stack.site.agent_socket();
        let run = async |words: &[&str]| {
            let mut agent = Command::new(env!("CARGO_BIN_EXE_stream-agent"));
            agent.arg("turn").args(words).arg("--socket").arg(&socket);
            let output = agent.kill_on_drop(true).output().await?;
            let said = String::from_utf8(output.stdout)?;
            anyhow::Ok((output.status.success(), said, String::from_utf8(output.stderr)?))
        };
        let (_, table, _) = run(&["probe"]).await?;
        let row = table.lines().nth(1).context("a row")?;
        let cells: Vec<_> = row.split_whitespace().collect();
        assert_eq!(cells[..3], [POOL, &relay.url(), "good"], "{table}");
        assert_eq!((cells[4], cells[6]), ("ms", "ms"), "{table}");

        let session = SessionId::random();
        let (_, printed, _) = run(&["credentials", "--session", session.as_str()]).await?;
        let word = |name: &str| printed.split_whitespace().skip_while(|w| *w != name).nth(1);
        let username = word("username").context("a user name")?;
        assert!(username.ends_with(&format!(":{session}-client")), "{printed}");
        assert!(relays(relay, username, word("password").context("a password")?).await?);

        let (done, secret, why) = run(&["rotate"]).await?;
        assert!(!done && why.contains("does not accept it: it refuses: 401"), "{why}");
        relay.add_secret(secret.trim())?;
        let (done, _, why) = run(&["rotate"]).await?;
        assert!(done && why.contains("the new secret is in use"), "{why}");
        let (done, _, why) = run(&["retire"]).await?;
        assert!(!done && why.contains("good for another"), "{why}");
        let (done, _, why) = run(&["drain", &relay.url()]).await?;
        assert!(!done && why.contains("the only relay left"), "{why}");
        Ok(())
    });
}

/// The page in a browser, with a stream through the relay only.
struct Watching {
    node: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    /// Opens the page, and returns once it streams; it is then watched for `time`.
    async fn start(stack: &Stack, time: Duration) -> anyhow::Result<Self> {
        let fragment = format!("token={}&app={APP}&start=1&relay=1", stack.token);
        let page = format!("{}/#{fragment}", stack.site.gateway_url());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/watch.mjs");
        let mut node = Command::new("node");
        node.arg(script).arg(page).arg(time.as_secs().to_string());
        let mut node = node.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut lines = BufReader::new(node.stdout.take().context("its output")?).lines();
        let begun = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await??;
        anyhow::ensure!(begun.as_deref() == Some("streaming"), "the browser failed");
        Ok(Self { node, lines })
    }

    async fn end(mut self) -> anyhow::Result<Value> {
        let line = self.lines.next_line().await?;
        anyhow::ensure!(self.node.wait().await?.success(), "the browser failed");
        Ok(serde_json::from_str(&line.context("what was seen")?)?)
    }
}

/// The user names of a session's client that got an allocation, in order.
fn users(log: &str, session: &str) -> Vec<String> {
    let mut users: Vec<String> = Vec::new();
    for line in log.lines().filter(|line| line.contains("ALLOCATE processed, success")) {
        let user = line.split_once("user <").and_then(|(_, rest)| rest.split_once('>'));
        let Some((user, _)) = user else { continue };
        if user.ends_with(&format!(":{session}-client")) && users.last().is_none_or(|u| u != user) {
            users.push(user.to_owned());
        }
    }
    users
}

fn longest(seen: &Value) -> u64 {
    let gaps = seen["gaps_ms"].as_array().map(Vec::as_slice).unwrap_or_default();
    let gaps = gaps.iter().chain([&seen["quiet_ms"]]);
    gaps.filter_map(Value::as_u64).max().unwrap_or(u64::MAX)
}

#[test]
fn a_stream_outlives_its_credentials_without_a_gap() {
    flow(async || {
        let long = std::env::var_os("STREAM_TEST_LONG").is_some();
        let time = Duration::from_secs(if long { 180 } else { 60 });
        let options = Options { coturn: true, credential_s: 20, ..Options::default() };
        let stack = Stack::start(options).await?;
        let seen = Watching::start(&stack, time).await?.end().await?;
        assert_eq!((&seen["candidate"], &seen["state"]), (&"relay".into(), &"streaming".into()));
        assert!(longest(&seen) <= 1000, "{seen}");
        assert!(seen["frames"].as_u64().is_some_and(|n| n > 20 * time.as_secs()), "{seen}");

        let log = stack.coturn.as_ref().context("the relay")?.log()?;
        assert_eq!(refusals(&log), Vec::<&str>::new());
        let users = users(&log, seen["session"].as_str().context("a session")?);
        let expiries = users.iter().filter_map(|user| user.split(':').next()?.parse::<u64>().ok());
        let expiries: Vec<_> = expiries.collect();
        assert!(expiries.len() as u64 > time.as_secs() / 15, "{users:?}");
        for pair in expiries.windows(2) {
            assert!((12..=16).contains(&(pair[1] - pair[0])), "about every 13 s: {users:?}");
        }
        Ok(())
    });
}

#[test]
fn a_stream_comes_back_after_its_relay_with_fresh_credentials() {
    flow(async || {
        let mut stack = Stack::start(Options { coturn: true, ..Options::default() }).await?;
        let secret = stack.site.turn_secret()?;
        let watching = Watching::start(&stack, Duration::from_secs(18)).await?;
        let relay = stack.coturn.as_mut().context("the relay")?;
        relay.process().kill();
        let before = relay.log()?.len();
        relay.restart(&[&secret])?;
        let seen = watching.end().await?;
        assert_eq!((&seen["candidate"], &seen["state"]), (&"relay".into(), &"streaming".into()));
        assert!(longest(&seen) <= 10_000, "{seen}");
        assert!(seen["quiet_ms"].as_u64().is_some_and(|quiet| quiet < 1000), "{seen}");

        let log = stack.coturn.as_ref().context("the relay")?.log()?;
        let session = seen["session"].as_str().context("a session")?;
        let (old, fresh) = (users(&log[..before], session), users(&log[before..], session));
        assert!(!fresh.is_empty() && !fresh.iter().any(|user| old.contains(user)), "{fresh:?}");
        Ok(())
    });
}
