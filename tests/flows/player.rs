//! The player in a real browser, as people use it: every kind of input, the picture, figures, a
//! camera, and each way a stream ends.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::browser::run_script;
use crate::support::{APP, run_flow};
use anyhow::{Context, ensure};
use serde_json::Value;
use stream_dev::in_process::{Options, Stack};
use stream_dev::ports;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use toml::toml;

/// The script looks at some fifteen states, each four times, and waits for a lost connection.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(280);

/// Where pictures of every state go, with a `%` for its name.
fn pictures() -> PathBuf {
    let usual = Path::new(env!("CARGO_TARGET_TMPDIR")).join("player/%.png");
    std::env::var_os("STREAM_PICTURES").map_or(usual, PathBuf::from)
}

#[test]
fn the_cores_of_the_player_do_without_a_browser() -> anyhow::Result<()> {
    run_script("player_cores", [concat!(env!("CARGO_MANIFEST_DIR"), "/actors/gateway/ui")])
}

#[test]
fn people_do_in_the_player_what_they_do_with_a_device() {
    run_flow(async || {
        // Who views waits for no longer until the one before is given up.
        let gateway = toml! { gateway.client_grace_s = 1 };
        let options = Options { coturn: true, gateway, ..Options::default() };
        let stack = Stack::start(options).await?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/player.mjs");
        let mut node = Command::new("node");
        node.arg(script).arg(stack.nodes.gateway_url()).arg(APP);
        node.env("STREAM_TOKEN", &stack.token).env("STREAM_PICTURES", pictures());
        node.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = tokio::time::timeout(SCRIPT_TIMEOUT, node.output()).await??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the browser failed: {said}");
        let seen: Value = serde_json::from_slice(&output.stdout).context("figures")?;
        ensure!(seen["gzip_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{seen}");
        Ok(())
    });
}

/// Its script says when the gateway is to be restarted under the page.
#[test]
fn people_do_in_firefox_what_they_do_with_a_device() {
    run_flow(async || {
        let gateway = toml! { gateway.client_grace_s = 1 };
        let mut stack = Stack::start(Options { gateway, ..Options::default() }).await?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/firefox_player.mjs");
        let mut node = Command::new("node");
        node.arg(script).arg(stack.nodes.gateway_url()).args([APP, "--restarts"]);
        node.env("STREAM_TOKEN", &stack.token).stdout(Stdio::piped()).kill_on_drop(true);
        let mut node = node.spawn()?;
        let mut lines = BufReader::new(node.stdout.take().context("its output")?).lines();
        let mut said = Vec::new();
        while let Some(line) = tokio::time::timeout(SCRIPT_TIMEOUT, lines.next_line()).await?? {
            let line: Value = serde_json::from_str(&line)?;
            if line["wants"] == "restart" {
                stack.restart_gateway().await?;
            }
            said.push(line);
        }
        ensure!(node.wait().await?.success(), "the browser failed");
        let [asked, seen] = &said[..] else { anyhow::bail!("it said {said:?}") };
        ensure!(asked["wants"] == "restart" && seen["ok"] == true, "{said:?}");
        Ok(())
    });
}

/// A page elsewhere is one of another port.
#[test]
fn pages_of_listed_origins_show_the_player_and_others_do_not() {
    run_flow(async || {
        let [listed, other] = [ports::free(), ports::free()];
        let origin = format!("http://127.0.0.1:{listed}");
        let gateway = toml! { gateway.embed_origins = [origin] };
        let stack = Stack::start(Options { gateway, ..Options::default() }).await?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/embed.mjs");
        let mut node = Command::new("node");
        node.arg(script).args([listed, other].map(|port| port.to_string()));
        node.arg(stack.nodes.gateway_url()).arg(APP);
        node.env("STREAM_TOKEN", &stack.token).env("STREAM_PICTURES", pictures());
        node.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = tokio::time::timeout(SCRIPT_TIMEOUT, node.output()).await??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the browser failed: {said}");
        Ok(())
    });
}
