//! What both services log, as the programs write it.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Value, json};
use stream_dev::in_process::{Options, Stack, client_config, wait_for_agent};
use stream_dev::keys::KeyStore;
use stream_dev::node_files::{NodeFiles, merge};
use stream_gateway::admin::Step;
use stream_pki::{Trust, client_config as tls_config};
use stream_protocol::Hop;
use stream_simulators::client::Gateway as Client;

use crate::support::systemd::Systemd;
use crate::support::{APP, eventually, light_instances, run_flow};

const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");
const GATEWAY: &str = env!("CARGO_BIN_EXE_stream-gateway");

/// A trace as a client may begin it, and its id.
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn stack() -> anyhow::Result<Stack> {
    Stack::start(Options { launcher: light_instances(), ..Options::default() }).await
}

fn agent(stack: &Stack) -> anyhow::Result<(Systemd, NodeFiles)> {
    let nodes = stack.nodes.join("agent-as-program", "agent-2", &KeyStore::shared()?)?;
    let config = nodes.write_agent(&stack.config)?;
    Ok((Systemd::new(AGENT, &config, &nodes.dir)?, nodes))
}

fn gateway(stack: &Stack) -> anyhow::Result<(Systemd, NodeFiles)> {
    let nodes = stack.nodes.join_gateway("gateway-as-program", &KeyStore::shared()?)?;
    let config = nodes.write_gateway(&stack.config)?;
    Ok((Systemd::new(GATEWAY, &config, &nodes.dir)?, nodes))
}

/// Waits until the log of `unit` says `text`.
async fn says(unit: &Systemd, text: &str) -> anyhow::Result<()> {
    let said = eventually("said", async || Ok(unit.log_text().contains(text).then_some(())));
    said.await.with_context(|| format!("no {text:?} in {}", unit.log_text()))
}

fn warnings(unit: &Systemd) -> Vec<String> {
    let log = unit.log_text();
    let lines = log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_good_start_warns_of_nothing_and_one_without_nats_once() {
    run_flow(async || {
        let mut stack = stack().await?;
        for (mut unit, _) in [gateway(&stack)?, agent(&stack)?] {
            unit.start().await?;
            says(&unit, "nats is connected").await?;
            // With everything there it has asked whatever it asks first.
            unit.wait_for("STATUS=serving").await?;
            unit.stop().await?;
            ensure!(warnings(&unit).is_empty(), "{}", unit.log_text());
            unit.clear_log()?;

            stack.nats.kill();
            unit.start().await?;
            says(&unit, "nats is away").await?;
            unit.wait_until(|line| line.contains("away: ") && line.contains("nats (")).await?;
            stack.nats.restart()?;
            says(&unit, "nats is connected").await?;
            unit.wait_for("STATUS=serving").await?;
            unit.stop().await?;
            let (warnings, log) = (warnings(&unit), unit.log_text());
            ensure!(warnings.len() == 1 && warnings[0].contains("nats is away"), "{log}");
            ensure!(log.matches("nats is connected").count() == 1, "{log}");
        }
        Ok(())
    });
}

/// The lines of a log in JSON.
fn lines(unit: &Systemd) -> anyhow::Result<Vec<Value>> {
    let log = unit.log_text();
    let parsed = log
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("{line:?} is no JSON")));
    parsed.collect()
}

fn of_request<'a>(lines: &'a [Value], id: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["request"] == id).collect()
}

#[test]
fn a_request_is_followed_by_its_id_through_both_services() {
    run_flow(async || {
        let mut stack = stack().await?;
        let log: toml::Table = toml::from_str("[log]\nformat = \"json\"\naccess = true")?;
        merge(&mut stack.config.agent, log.clone());
        merge(&mut stack.config.gateway, log);
        let ((mut gateway, nodes), (mut agent, _)) = (gateway(&stack)?, agent(&stack)?);
        // Only the programs are to serve.
        stack.agent.stop().await;
        gateway.start().await?;
        agent.start().await?;
        let config = client_config(&nodes, &stack.token)?;
        wait_for_agent(&Client::new(&client_of(&gateway, config)?)?).await?;

        let http = http(&nodes)?;
        let url = format!("{}/1.0/sessions", gateway.url()?);
        let create = |headers: &[(&'static str, &str)]| {
            let body = json!({ "app": APP, "screen": { "width": 320, "height": 240, "fps": 5 } });
            let token = format!("Macaroon root={}", stack.token);
            let request = http.post(&url).header(AUTHORIZATION, token).json(&body);
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
        };
        let answer = create(&[("X-Request-Id", "flow-1")]).send().await?.error_for_status()?;
        ensure!(answer.headers()["x-request-id"] == "flow-1", "{:?}", answer.headers());
        let session = answer.json::<Value>().await?["metadata"]["id"].clone();
        is_in_timeline(&nodes, session.as_str().context("an id")?).await?;
        let answer = create(&[("traceparent", TRACEPARENT)]).send().await?.error_for_status()?;
        ensure!(answer.headers()["x-request-id"] == TRACE, "{:?}", answer.headers());
        ensure!(answer.headers()["traceparent"] == TRACEPARENT, "{:?}", answer.headers());
        let wrong = "x".repeat(65);
        let answer = create(&[("X-Request-Id", &wrong)]).send().await?.error_for_status()?;
        let made = made_id(answer.headers())?;
        ensure!(made != wrong, "it is too long");

        for id in ["flow-1", TRACE, &made] {
            let at_gateway = eventually("logged", async || {
                let lines = lines(&gateway)?;
                let of_request = of_request(&lines, id).into_iter().cloned().collect::<Vec<_>>();
                Ok(of_request.into_iter().find(|line| line["target"] == "access"))
            });
            let line = at_gateway.await?;
            ensure!(line["route"] == "/1.0/sessions" && line["method"] == "POST", "{line}");
            ensure!(line["code"] == 201 || line["code"] == 200, "{line}");
            ensure!(line["client"] == "127.0.0.0/24", "{line}");
            ensure!(line["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{line}");
            ensure!(line["took_ms"].is_u64() && line["level"] == "info", "{line}");
            let token = line["token"].as_str().context("an id")?;
            ensure!(token.len() > 4 && !stack.token.contains(token), "{line}");
            // What the agent does for it, and has AMS do.
            let lines = lines(&agent)?;
            let told = of_request(&lines, id);
            let targets: BTreeSet<_> =
                told.iter().filter_map(|line| line["target"].as_str()).collect();
            ensure!(targets.iter().any(|target| target.contains("sessions")), "{id}: {told:?}");
            ensure!(told.iter().all(|line| line["time"].is_string()), "{told:?}");
        }
        for log in [gateway.log_text(), agent.log_text()] {
            ensure!(!log.contains(&stack.token), "a token is in the log");
        }
        agent.stop().await?;
        gateway.stop().await?;
        Ok(())
    });
}

/// Waits until what both services did for the request is in the timeline of its session, with its
/// id.
async fn is_in_timeline(nodes: &NodeFiles, session: &str) -> anyhow::Result<()> {
    let operator = stream_gateway::admin::Client::new(nodes.admin_socket());
    eventually("in the timeline", async || {
        let steps = operator.explain_session(session).await?.timeline;
        let of_request = |step: &&Step| step.request.as_deref() == Some("flow-1");
        let hops: Vec<_> = steps.iter().filter(of_request).map(|step| step.hop).collect();
        Ok((hops.contains(&Hop::Create) && hops.contains(&Hop::Launch)).then_some(()))
    })
    .await
}

/// The client of the gateway that listens where `unit` says.
fn client_of(
    unit: &Systemd,
    config: stream_simulators::client::ClientConfig,
) -> anyhow::Result<stream_simulators::client::ClientConfig> {
    Ok(stream_simulators::client::ClientConfig { gateway: unit.url()?, ..config })
}

fn http(nodes: &NodeFiles) -> anyhow::Result<reqwest::Client> {
    let tls = tls_config(&Trust::Pins(vec![nodes.gateway_pin()?]), None)?;
    Ok(reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?)
}

fn made_id(headers: &HeaderMap) -> anyhow::Result<String> {
    Ok(headers.get("x-request-id").context("an id")?.to_str()?.to_owned())
}
