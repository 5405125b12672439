//! A stream that outlives its credentials, and its relay.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use stream_dev::in_process::{Options, Stack};
use stream_dev::ports;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use toml::toml;

use super::relays::refusals;
use crate::support::{APP, run_flow};

/// The page in a browser, with a stream through the relay only.
struct Watching {
    node: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    /// Opens the page, and returns once it streams; it is then watched for `time`.
    async fn start(stack: &Stack, time: Duration) -> anyhow::Result<Self> {
        let fragment = format!("token={}&app={APP}&start=1&relay=1", stack.token);
        let page = format!("{}/#{fragment}", stack.nodes.gateway_url());
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
    run_flow(async || {
        let long = std::env::var_os("STREAM_TEST_LONG").is_some();
        let time = Duration::from_secs(if long { 180 } else { 60 });
        let agent = toml! { turn.lifetime_s = 20 };
        let options = Options { coturn: true, agent, ..Options::default() };
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

/// Published clients close their socket once they stream, and so never hear of fresh credentials.
#[test]
fn a_stream_whose_client_closed_its_socket_outlives_three_lives_of_its_credential() {
    run_flow(async || {
        // In the long run permissions and channels are made anew as well: every 4 and 9 minutes.
        let long = std::env::var_os("STREAM_TEST_LONG").is_some();
        let lifetime_s = if long { 200 } else { 20 };
        let port = ports::free();
        let stack = Stack::start(Options {
            coturn: true,
            agent: toml! { turn.lifetime_s = lifetime_s },
            gateway: toml! { gateway.allowed_origins = ["*"] },
            ..Options::default()
        })
        .await?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/plain.mjs");
        let mut node = Command::new("node");
        node.arg(script).arg(port.to_string()).arg(stack.nodes.gateway_url()).arg(APP);
        node.arg("--watch").arg((3 * lifetime_s + 3).to_string());
        node.env("STREAM_TOKEN", &stack.token).kill_on_drop(true);
        let output = node.stderr(Stdio::inherit()).output().await?;
        let seen: Value = serde_json::from_slice(&output.stdout).context("the browser failed")?;
        assert_eq!(seen["candidate"], "relay");
        assert!(seen["longest_ms"].as_u64().is_some_and(|longest| longest <= 1000), "{seen}");

        let log = stack.coturn.as_ref().context("the relay")?.log()?;
        assert_eq!(refusals(&log), Vec::<&str>::new());
        let session = seen["session"].as_str().context("a session")?;
        assert_eq!(users(&log, session).len(), 1, "no fresh credential was used");
        let refreshed = log.lines().filter(|line| {
            line.contains("REFRESH processed, success")
                && line.contains(&format!("{session}-client"))
        });
        assert!(refreshed.count() >= 1, "what the relay allotted is refreshed");
        Ok(())
    });
}

#[test]
fn a_stream_comes_back_after_its_relay_with_fresh_credentials() {
    run_flow(async || {
        let mut stack = Stack::start(Options { coturn: true, ..Options::default() }).await?;
        let secret = stack.nodes.turn_secret()?;
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
