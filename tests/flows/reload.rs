//! Operators who look at a configuration, and have a service that runs take it up.

use std::path::Path;
use std::process::Output;

use crate::support::fleet::{Fleet, Unit};
use crate::support::{APP, Http, STEP_TIMEOUT, eventually, light_instances, run_flow};
use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::json;
use stream_agent::program::Service;
use stream_dev::in_process::{Options, Stack};
use tokio::process::Command;

const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");
const GATEWAY: &str = env!("CARGO_BIN_EXE_stream-gateway");

async fn run(program: &str, words: &[&str], option: &str, path: &Path) -> anyhow::Result<Output> {
    let mut command = Command::new(program);
    command.args(words).arg(option).arg(path).kill_on_drop(true);
    Ok(tokio::time::timeout(STEP_TIMEOUT, command.output()).await??)
}

async fn reload(unit: &Unit) -> anyhow::Result<Output> {
    run(GATEWAY, &["reload"], "--socket", &unit.socket()).await
}

#[test]
fn a_gateway_takes_up_what_can_change_and_nothing_of_a_file_that_is_refused() {
    run_flow(async || {
        let options = Options { launcher: light_instances(), ..Options::default() };
        let fleet = Fleet::start(options, 1, 1).await?;
        let gateway = &fleet.gateways[0];
        let file = gateway.nodes.dir.join("gateway.toml");
        let before = std::fs::read_to_string(&file)?;
        let said = String::from_utf8(reload(gateway).await?.stdout)?;
        ensure!(said == "nothing has changed\n", "{said}");

        let (shares, grace) = ("shares_per_session = 5\n", "client_grace_s = 30\n");
        ensure!(before.contains(shares) && before.contains(grace), "{before}");
        let with = |value: &str| {
            let grace_line = format!("client_grace_s = {value}\n");
            before.replace(shares, "shares_per_session = 1\n").replace(grace, &grace_line)
        };
        let session = fleet.http.create_with_key(APP, "shared").await?.success()?;
        let path = format!("/1.0/sessions/{}/share", session["id"].as_str().context("an id")?);
        let body = json!({ "type": "control" });
        let share = async || fleet.http.send(Method::POST, &path, Some(body.clone())).await;
        share().await?.success()?;

        std::fs::write(&file, with("\"x\""))?;
        let refused = reload(gateway).await?;
        ensure!(refused.status.code() == Some(1), "{refused:?}");
        let why = String::from_utf8(refused.stderr)?;
        let line = before.lines().position(|line| line == grace.trim_end()).context("a line")?;
        let place = format!("{}:{}: gateway.client_grace_s: ", file.display(), line + 1);
        ensure!(why.contains(&place) && why.trim_end().ends_with("nothing has changed"), "{why}");
        share().await?.success()?;

        std::fs::write(&file, with("7"))?;
        let said = String::from_utf8(reload(gateway).await?.stdout)?;
        let told = |line: &str| said.lines().any(|said| said == line);
        ensure!(told("from now on:") && told("  gateway.shares_per_session: 5 -> 1"), "{said}");
        ensure!(told("after a restart:"), "{said}");
        ensure!(told("  gateway.client_grace_s: 30 -> 7"), "{said}");
        let refused = share().await?;
        ensure!(refused.body["error"] == "a session has at most 1 share", "{refused:?}");
        Ok(())
    });
}

#[test]
fn a_configuration_is_tried_against_nats_ams_and_relays_before_it_holds() {
    run_flow(async || {
        let options = Options { launcher: light_instances(), coturn: true, ..Options::default() };
        let mut stack = Stack::start(options).await?;
        let dir = stack.nodes.dir.clone();
        let tried = async |program, file: &str| {
            run(program, &["check-config", "--online"], "--config", &dir.join(file)).await
        };
        let relay = stack.coturn.as_ref().context("the relay")?.url();
        let output = tried(AGENT, "agent.toml").await?;
        ensure!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout)?;
        for start in ["nats: ", "ams: https://", &format!("relay {relay} over udp: answers in")] {
            ensure!(said.lines().any(|line| line.starts_with(start)), "no {start}: {said}");
        }
        let output = tried(GATEWAY, "gateway.toml").await?;
        ensure!(output.status.success(), "{output:?}");

        stack.nats.kill();
        for (program, file, of) in [(AGENT, "agent.toml", 3), (GATEWAY, "gateway.toml", 1)] {
            let output = tried(program, file).await?;
            ensure!(output.status.code() == Some(1), "{output:?}");
            let said = String::from_utf8(output.stdout)?;
            ensure!(said.contains("cannot be reached"), "{said}");
            let why = String::from_utf8(output.stderr)?;
            ensure!(why.contains(&format!("1 of {of} cannot be used")), "{why}");
        }
        stack.nats.restart()?;
        let nodes = &stack.nodes;
        let gateway = Http::new(&nodes.gateway_url(), None, nodes.gateway_pin()?)?;
        // Probes of what depends on it see it, and those of the process never do.
        eventually("ready", async || {
            Ok((gateway.get("/1.0/health/ready").await?.status == 200).then_some(()))
        })
        .await
    });
}

#[test]
fn without_nats_a_gateway_lives_and_is_not_ready() {
    run_flow(async || {
        let mut stack = Stack::start(Options::default()).await?;
        let nodes = &stack.nodes;
        let stranger = Http::new(&nodes.gateway_url(), None, nodes.gateway_pin()?)?;
        let ready = stranger.get("/1.0/health/ready").await?.success()?;
        ensure!(ready == json!({ "nats": "ok", "keys": "ok", "drain": "ok" }), "{ready}");
        stack.nats.kill();
        let unready = eventually("not ready", async || {
            let answer = stranger.get("/1.0/health/ready").await?;
            Ok((answer.status == 503).then_some(answer))
        })
        .await?;
        ensure!(unready.body["metadata"]["nats"] == "away", "{unready:?}");
        let live = stranger.get("/1.0/health/live").await?;
        ensure!(live.status == 200, "{live:?}");
        // Why is for those with a token.
        let told = stranger.with(Some(&stack.token)).get("/1.0/health/ready").await?;
        let why = told.body["metadata"]["nats"].as_str().context("why")?;
        ensure!(told.status == 503 && why != "away", "{told:?}");
        stack.gateway.drain().begin_to_stay();
        eventually("draining", async || {
            let answer = stranger.get("/1.0/health/ready").await?;
            Ok((answer.body["metadata"]["drain"] == "draining").then_some(()))
        })
        .await
    });
}
