//! The page in a real browser: picture, tap, and the same through a real relay only.

mod support;

use std::process::Stdio;

use stream_agent::dev::stack::{Options, Stack};
use support::{APP, flow};

/// Longer than the script's own deadline.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(90);

async fn drive(stack: &Stack, relay: bool) -> anyhow::Result<serde_json::Value> {
    let fragment =
        format!("token={}&app={APP}&start=1{}", stack.token, if relay { "&relay=1" } else { "" });
    let page = format!("{}/#{fragment}", stack.site.gateway_url());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/session.mjs");
    let mut node = tokio::process::Command::new("node");
    node.arg(script).arg(page).args(relay.then_some("--relay"));
    node.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, node.output()).await??;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "the browser failed: {said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn the_page_shows_the_picture_and_answers_a_tap() {
    flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let seen = drive(&stack, false).await?;
        assert!(seen["frames"].as_u64().is_some_and(|frames| frames >= 60), "{seen}");
        assert_ne!(seen["candidate"], "relay");
        Ok(())
    });
}

#[test]
fn the_page_does_the_same_through_the_relay_only() {
    flow(async || {
        let stack = Stack::start(Options { coturn: true, ..Options::default() }).await?;
        let seen = drive(&stack, true).await?;
        assert!(seen["frames"].as_u64().is_some_and(|frames| frames >= 60), "{seen}");
        assert_eq!(seen["candidate"], "relay");
        Ok(())
    });
}
