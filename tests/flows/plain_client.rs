//! A client of another origin, written from the manual alone, does in a real browser what clients
//! do: create, join, input, camera and microphone, vehicle, channels, shares.

use std::process::Stdio;
use std::time::Duration;

use crate::support::{APP, run_flow};
use anyhow::ensure;
use stream_dev::in_process::{Options, Stack};
use stream_dev::ports;
use stream_simulators::ams::simulated_instances_with;
use stream_simulators::instance::Behaviour;
use tokio::process::Command;
use toml::toml;

/// Longer than the script's own deadline.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(170);

#[test]
fn a_client_written_from_the_manual_does_all_that_clients_do() {
    run_flow(async || {
        let port = ports::free();
        let origin = format!("http://127.0.0.1:{port}");
        let car = Behaviour { automotive: true, ..Behaviour::default() };
        let stack = Stack::start(Options {
            launcher: simulated_instances_with(car),
            // Who views waits for no longer until the one before is given up.
            gateway: toml! { gateway.allowed_origins = [origin] gateway.client_grace_s = 1 },
            ..Options::default()
        })
        .await?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/plain.mjs");
        let mut node = Command::new("node");
        node.arg(script).arg(port.to_string()).arg(stack.nodes.gateway_url()).arg(APP);
        // Where somebody wants to look at it: a name with a % for each step.
        node.args(std::env::var_os("STREAM_PICTURES"));
        node.env("STREAM_TOKEN", &stack.token);
        node.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = tokio::time::timeout(SCRIPT_TIMEOUT, node.output()).await??;
        let said = String::from_utf8_lossy(&output.stderr);
        let steps = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{said}\nafter\n{steps}");
        ensure!(steps.lines().count() == 40, "{steps}");
        Ok(())
    });
}
