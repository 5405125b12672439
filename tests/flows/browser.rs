//! The page in a real browser: picture, tap, the same through a real relay only, a socket that is
//! lost, and the link of a share.

use std::ffi::OsStr;
use std::process::Stdio;

use crate::support::socket::Socket;
use crate::support::{APP, eventually, run_flow};
use anyhow::Context;
use serde_json::{Value, json};
use stream_dev::in_process::{Options, Stack};
use stream_protocol::Screen;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use toml::toml;

/// Longer than the script's own deadline.
const SCRIPT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(90);

/// Has the script `name` drive a session of the page.
pub(crate) async fn drive(name: &str, stack: &Stack, relay: bool) -> anyhow::Result<Value> {
    let fragment =
        format!("token={}&app={APP}&start=1{}", stack.token, if relay { "&relay=1" } else { "" });
    let page = format!("{}/#{fragment}", stack.nodes.gateway_url());
    let script = format!("{}/tests/browser/{name}.mjs", env!("CARGO_MANIFEST_DIR"));
    let mut node = Command::new("node");
    node.arg(script).arg(page).args(relay.then_some("--relay"));
    node.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(SCRIPT_TIMEOUT, node.output()).await??;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "the browser failed: {said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Runs the script `name`, which needs nothing but these files.
pub(crate) fn run_script(
    name: &str,
    files: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> anyhow::Result<()> {
    let script = format!("{}/tests/browser/{name}.mjs", env!("CARGO_MANIFEST_DIR"));
    let output = std::process::Command::new("node").arg(script).args(files).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{said}");
    Ok(())
}

#[test]
fn signals_that_make_no_sense_do_not_end_a_stream_of_the_page() -> anyhow::Result<()> {
    let stream = concat!(env!("CARGO_MANIFEST_DIR"), "/actors/gateway/ui/stream.js");
    run_script("signals", [stream])
}

#[test]
fn the_page_shows_the_picture_and_answers_a_tap() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let seen = drive("session", &stack, false).await?;
        assert!(seen["frames"].as_u64().is_some_and(|frames| frames >= 60), "{seen}");
        assert_ne!(seen["candidate"], "relay");
        Ok(())
    });
}

/// Firefox decodes no H.264 unless it fetches a codec from elsewhere.
#[test]
fn firefox_plays_the_page_in_vp8_directly_and_through_the_relay() {
    run_flow(async || {
        let stack = Stack::start(Options { coturn: true, ..Options::default() }).await?;
        let seen = drive("firefox", &stack, false).await?;
        assert_eq!(seen["codec"], "video/VP8", "{seen}");
        assert_ne!(seen["candidate"], "relay", "{seen}");
        let figures = seen["statistics"].as_str().context("what the panel shows")?;
        assert!(figures.contains("VP8") && figures.contains("over UDP"), "{figures}");
        let relayed = drive("firefox", &stack, true).await?;
        assert_eq!(
            (&relayed["codec"], &relayed["candidate"]),
            (&"video/VP8".into(), &"relay".into())
        );
        Ok(())
    });
}

/// The page in a browser that is to lose its socket.
struct Losing {
    node: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// The address of its first socket.
    url: String,
}

impl Losing {
    /// Opens the page and returns once it streams.
    async fn start(stack: &Stack, fragment: &str) -> anyhow::Result<Self> {
        let page = format!("{}/#{fragment}", stack.nodes.gateway_url());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/resume.mjs");
        let mut node = Command::new("node");
        node.arg(script).arg(page).stdout(Stdio::piped()).kill_on_drop(true);
        let mut node = node.spawn()?;
        let mut lines = BufReader::new(node.stdout.take().context("its output")?).lines();
        let url = next(&mut lines).await?["url"].as_str().context("an address")?.to_owned();
        Ok(Self { node, lines, url })
    }
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<Value> {
    let line = tokio::time::timeout(SCRIPT_TIMEOUT, lines.next_line()).await??;
    Ok(serde_json::from_str(&line.context("the browser failed")?)?)
}

#[test]
fn a_page_whose_socket_is_cut_after_its_first_token_has_ended_opens_another() {
    run_flow(async || {
        let gateway = toml! { gateway.socket_token_s = 15 gateway.reconnect_token_s = 1 };
        let options = Options { gateway, ..Options::default() };
        let mut stack = Stack::start(options).await?;
        let fragment = format!("token={}&app={APP}&start=1", stack.token);
        let mut page = Losing::start(&stack, &fragment).await?;
        eventually("ended", async || {
            let opened = Socket::open_url(&page.url, &stack).await;
            Ok(opened.is_err_and(|error| error.to_string().contains("401")).then_some(()))
        })
        .await?;
        stack.restart_gateway().await?;
        let seen = next(&mut page.lines).await?;
        assert_eq!(seen["state"], "streaming", "{seen}");
        let url = seen["url"].as_str().context("an address")?;
        assert!(url.contains("&ice_renewal=") && !url.contains(&page.url), "{url}");
        assert!(page.node.wait().await?.success());
        Ok(())
    });
}

/// The browser takes what it likes best of what the gateway offers.
#[test]
fn a_browser_and_the_gateway_agree_on_a_key_exchange_that_outlives_quantum_computers() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/key_exchange.mjs");
        let mut node = Command::new("node");
        node.arg(script).arg(stack.nodes.gateway_url()).stdout(Stdio::piped()).kill_on_drop(true);
        let output = tokio::time::timeout(SCRIPT_TIMEOUT, node.output()).await??;
        let seen: Value = serde_json::from_slice(&output.stdout).context("the browser failed")?;
        let wanted = json!({ "protocol": "TLS 1.3", "keyExchangeGroup": "X25519MLKEM768" });
        assert_eq!(seen, wanted);
        Ok(())
    });
}

#[test]
fn the_page_opens_the_link_of_a_share_and_offers_no_more_than_that() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let created = stack.client()?.create(APP, Screen::default()).await?;
        let client = stream_gateway::admin::Client::new(stack.nodes.admin_socket());
        let share = client.create_share(&created.id, "control", "", None).await?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/shared.mjs");
        let mut node = Command::new("node");
        node.arg(script).arg(&share.url).stdout(Stdio::piped()).kill_on_drop(true);
        let output = tokio::time::timeout(SCRIPT_TIMEOUT, node.output()).await??;
        let seen: Value = serde_json::from_slice(&output.stdout).context("the browser failed")?;
        assert_eq!(seen["session"], created.id.as_str(), "{seen}");
        assert_eq!((&seen["start"], &seen["end"]), (&false.into(), &false.into()), "{seen}");
        Ok(())
    });
}

#[test]
fn the_page_does_the_same_through_the_relay_only() {
    run_flow(async || {
        let stack = Stack::start(Options { coturn: true, ..Options::default() }).await?;
        let seen = drive("session", &stack, true).await?;
        assert!(seen["frames"].as_u64().is_some_and(|frames| frames >= 60), "{seen}");
        assert_eq!(seen["candidate"], "relay");
        Ok(())
    });
}
