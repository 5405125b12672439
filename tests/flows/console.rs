//! The console in a real browser, as operators use it: with sessions of real parts, by pointer and
//! by keys alone, with every view looked at.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::support::{APP, run_flow};
use anyhow::{Context, ensure};
use serde_json::Value;
use stream_dev::in_process::{Options, Stack};
use stream_gateway::admin::Client;
use tokio::process::Command;

/// The script looks at some thirty views, each four times.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(280);

/// Where pictures of every view go, with a `%` for its name.
fn pictures() -> PathBuf {
    let usual = Path::new(env!("CARGO_TARGET_TMPDIR")).join("console/%.png");
    std::env::var_os("STREAM_PICTURES").map_or(usual, PathBuf::from)
}

#[test]
fn operators_do_their_work_in_the_console() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let operators = Client::new(stack.nodes.admin_socket());
        let operator = operators.create_operator("operator", None, Default::default()).await?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/console.mjs");
        let mut node = Command::new("node");
        node.arg(script).arg(stack.nodes.gateway_url()).arg(APP);
        node.env("STREAM_TOKEN", &stack.token).env("STREAM_OPERATOR_TOKEN", &operator);
        node.env("STREAM_PICTURES", pictures());
        node.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = tokio::time::timeout(SCRIPT_TIMEOUT, node.output()).await??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the browser failed: {said}");
        let seen: Value = serde_json::from_slice(&output.stdout).context("figures")?;
        ensure!(seen["most_rows"].as_u64().is_some_and(|rows| rows <= 102), "{seen}");
        Ok(())
    });
}
