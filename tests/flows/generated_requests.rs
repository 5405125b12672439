//! Requests that are generated from the documents, valid and invalid ones: none is answered with
//! 5xx or with what the document does not have, no valid one is refused, no invalid one taken.

use std::path::Path;
use std::process::Stdio;

use crate::support::{APP, Http, ScriptedStack, eventually, run_flow};
use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::json;
use stream_dev::in_process::{Options, Stack};
use stream_protocol::TokenKind;
use stream_tokens::Mint;
use tokio::process::Command;
use toml::toml;

/// A service, and who asks it.
struct Asked<'a> {
    name: &'a str,
    url: String,
    token: &'a str,
    /// What its configuration names.
    variables: &'a [(&'a str, &'a str)],
}

/// Has schemathesis ask a service. Where it lies is in `SCHEMATHESIS`, which `scripts/test` sets.
async fn ask(asked: Asked<'_>, examples: usize) -> anyhow::Result<()> {
    let Asked { name, url, token, variables } = asked;
    let packages = std::env::var_os("SCHEMATHESIS").context("scripts/test says where it lies")?;
    let config = format!("tests/interop/openapi/generated_{name}.toml");
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join(config);
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", packages).envs(variables.iter().copied());
    command.args(["-m", "schemathesis.cli", "--config-file"]);
    command.arg(config).arg("run").arg(format!("{url}/1.0/openapi.json"));
    command.args(["-H", &format!("Authorization: Macaroon root={token}"), "--tls-verify=false"]);
    command.args(["--phases=coverage,fuzzing,stateful", &format!("--seed={}", seed())]);
    command.args(["--continue-on-failure", "--request-timeout=30", "--no-color"]);
    command.args(["--max-examples", &examples.to_string()]);
    command.current_dir(std::env::temp_dir()).kill_on_drop(true);
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().await?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // One that asks nothing finds nothing.
    let generated = said.lines().find_map(|line| line.trim().strip_suffix("skipped"));
    let generated =
        generated.and_then(|line| line.split(' ').next()?.replace(',', "").parse().ok());
    ensure!(generated.is_some_and(|generated: u32| generated > 500), "{said}");
    Ok(())
}

/// What is generated is the same in every run, unless `STREAM_TEST_SEED` has another seed.
fn seed() -> String {
    std::env::var("STREAM_TEST_SEED").unwrap_or_else(|_| "1".to_owned())
}

fn examples() -> usize {
    if std::env::var_os("STREAM_TEST_LONG").is_some() { 400 } else { 20 }
}

#[test]
fn the_gateway_answers_generated_requests_as_its_document_says() {
    run_flow(async || {
        let gateway = toml! {
            gateway.requests_per_second = 100_000
            http.requests_per_address = 100_000
        };
        let stack = Stack::start(Options { gateway, ..Options::default() }).await?;
        // Somebody's session is there while others are made and ended.
        stack.client()?.create(APP, stream_simulators::SMALL_SCREEN).await?;
        // A gateway that has just begun does not know yet that a region has no agent: 503.
        let nodes = &stack.nodes;
        let http = Http::new(&nodes.gateway_url(), Some(&stack.token), nodes.gateway_pin()?)?;
        eventually("sure of its agents", async || {
            let wanted = json!({ "app": APP, "region": "nowhere" });
            let answer = http.send(Method::POST, "/1.0/sessions", Some(wanted)).await?;
            Ok((answer.status == 404).then_some(()))
        })
        .await?;
        let (url, token) = (nodes.gateway_url(), &*stack.token);
        ask(Asked { name: "gateway", url, token, variables: &[] }, examples()).await
    });
}

#[test]
fn the_agent_answers_generated_requests_as_its_document_says() {
    run_flow(async || {
        let agent = toml! { http.requests_per_address = 100_000 };
        let options = Options { agent, ..Options::default() };
        let mut scripted = ScriptedStack::start_with(options).await?;
        let (created, instance) = scripted.create().await?;
        let tokens = &scripted.stack.agent.tokens;
        let mint = async |kind| tokens.mint(Mint::new(kind, "asker")).await;
        let (monitor, ams) = (mint(TokenKind::Monitor).await?, mint(TokenKind::Ams).await?);
        let variables =
            [("SESSION", &*created.id), ("MONITOR", &*monitor.token), ("AMS", &*ams.token)];
        let (url, token) = (instance.userdata.agent_url.clone(), &*instance.userdata.token);
        ask(Asked { name: "agent", url, token, variables: &variables }, examples()).await
    });
}
