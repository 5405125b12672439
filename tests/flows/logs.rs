//! What both services log, as the programs write it.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, ensure};
use reqwest::Response;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Value, json};
use stream_dev::in_process::{Options, Stack, client_config, wait_for_agent};
use stream_dev::keys::KeyStore;
use stream_dev::node_files::{NodeFiles, merge};
use stream_gateway::admin::Step;
use stream_pki::{Trust, client_config as tls_config};
use stream_protocol::{Hop, Userdata};
use stream_simulators::client::Gateway as Client;

use crate::support::socket::Socket;
use crate::support::systemd::Systemd;
use crate::support::{APP, ScriptedStack, eventually, light_instances, run_flow};

const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");
const GATEWAY: &str = env!("CARGO_BIN_EXE_stream-gateway");

/// A trace as a client may begin it, and its id.
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The routes of the sockets that carry signals: the instance's at its agent, the client's at its
/// gateway.
const MASTER: &str = "/1.0/sessions/{id}/sockets/master";
const SLAVE: &str = "/1.0/sessions/{id}/sockets/slave";

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

/// Waits for a line of the access log of which `is_meant` says yes.
async fn access_line(unit: &Systemd, is_meant: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    let found = eventually("logged", async || {
        let lines = lines(unit)?;
        Ok(lines.into_iter().find(|line| line["target"] == "access" && is_meant(line)))
    });
    found.await.with_context(|| unit.log_text())
}

/// Checks what each line of the access log has, whatever it tells of.
fn is_complete(line: &Value) -> anyhow::Result<()> {
    ensure!(line["client"] == "127.0.0.0/24", "{line}");
    ensure!(line["took_ms"].is_u64() && line["level"] == "info", "{line}");
    ensure!(line["bytes"].is_u64() && line["request"].is_string(), "{line}");
    ensure!(line["token"].as_str().is_some_and(|id| id.len() > 4), "{line}");
    Ok(())
}

/// A stack whose agent and gateway are programs, with an access log in JSON; its instances are the
/// test's.
struct Programs {
    scripted: ScriptedStack,
    agent: Systemd,
    agent_nodes: NodeFiles,
    gateway: Systemd,
    nodes: NodeFiles,
}

impl Programs {
    async fn start() -> anyhow::Result<Self> {
        let mut scripted = ScriptedStack::start().await?;
        let stack = &mut scripted.stack;
        let log: toml::Table = toml::from_str("[log]\nformat = \"json\"\naccess = true")?;
        merge(&mut stack.config.agent, log.clone());
        merge(&mut stack.config.gateway, log);
        let ((mut gateway, nodes), (mut agent, agent_nodes)) = (gateway(stack)?, agent(stack)?);
        // Where others find them.
        stack.config.gateways = Some(gateway.url()?);
        stack.config.agents = Some(agent.url()?);
        nodes.write_gateway(&stack.config)?;
        agent_nodes.write_agent(&stack.config)?;
        // Only the programs are to serve.
        stack.agent.stop().await;
        gateway.start().await?;
        agent.start().await?;
        let config = client_config(&nodes, &stack.token)?;
        wait_for_agent(&Client::new(&client_of(&gateway, config)?)?).await?;
        Ok(Self { scripted, agent, agent_nodes, gateway, nodes })
    }

    /// Asks for a session with these headers.
    async fn create(&self, headers: &[(&'static str, &str)]) -> anyhow::Result<Response> {
        let body = json!({ "app": APP, "screen": { "width": 320, "height": 240, "fps": 5 } });
        let token = format!("Macaroon root={}", self.scripted.stack.token);
        let request = http(&self.nodes)?.post(format!("{}/1.0/sessions", self.gateway.url()?));
        let request = request.header(AUTHORIZATION, token).json(&body);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Ok(request.send().await?.error_for_status()?)
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        self.agent.stop().await?;
        self.gateway.stop().await
    }
}

#[test]
fn a_request_is_followed_by_its_id_through_both_services_to_ams() {
    run_flow(async || {
        let mut programs = Programs::start().await?;
        // What AMS was asked with, once it was.
        let launched = async |id: &str| {
            eventually("launched", async || {
                let headers = programs.scripted.stack.ams.launch_headers();
                let is_asked = headers.contains(&("x-request-id".to_owned(), id.to_owned()));
                Ok(is_asked.then_some(headers))
            })
            .await
        };
        let answer = programs.create(&[("X-Request-Id", "flow-1")]).await?;
        ensure!(answer.headers()["x-request-id"] == "flow-1", "{:?}", answer.headers());
        let headers = launched("flow-1").await?;
        ensure!(!headers.iter().any(|(name, _)| name == "traceparent"), "{headers:?}");
        let session = answer.json::<Value>().await?["metadata"]["id"].clone();
        is_in_timeline(&programs.nodes, session.as_str().context("an id")?).await?;
        let answer = programs.create(&[("traceparent", TRACEPARENT)]).await?;
        ensure!(answer.headers()["x-request-id"] == TRACE, "{:?}", answer.headers());
        ensure!(answer.headers()["traceparent"] == TRACEPARENT, "{:?}", answer.headers());
        let headers = launched(TRACE).await?;
        let trace = ("traceparent".to_owned(), TRACEPARENT.to_owned());
        ensure!(headers.contains(&trace), "{headers:?}");
        let wrong = "x".repeat(65);
        let answer = programs.create(&[("X-Request-Id", &wrong)]).await?;
        let made = made_id(answer.headers())?;
        ensure!(made != wrong, "it is too long");

        let Programs { scripted, agent, gateway, .. } = &programs;
        for id in ["flow-1", TRACE, &made] {
            let line = access_line(gateway, |line| line["request"] == id).await?;
            is_complete(&line)?;
            ensure!(line["route"] == "/1.0/sessions" && line["method"] == "POST", "{line}");
            ensure!(line["code"] == 201 || line["code"] == 200, "{line}");
            ensure!(line["bytes"].as_u64() > Some(0) && line["message"] == "answered", "{line}");
            let token = line["token"].as_str().context("an id")?;
            ensure!(!scripted.stack.token.contains(token), "{line}");
            // What the agent does for it, and has AMS do.
            let lines = lines(agent)?;
            let told = of_request(&lines, id);
            let targets: BTreeSet<_> =
                told.iter().filter_map(|line| line["target"].as_str()).collect();
            ensure!(targets.iter().any(|target| target.contains("sessions")), "{id}: {told:?}");
            ensure!(told.iter().all(|line| line["time"].is_string()), "{told:?}");
        }
        for log in [gateway.log_text(), agent.log_text()] {
            ensure!(!log.contains(&scripted.stack.token), "a token is in the log");
        }
        programs.stop().await
    });
}

#[test]
fn each_request_and_each_socket_has_a_line_at_its_end_in_either_service() {
    run_flow(async || {
        let mut programs = Programs::start().await?;
        let created = programs.create(&[]).await?.json::<Value>().await?["metadata"].clone();
        let instance = programs.scripted.booted().await?;
        let Userdata { agent_url, token, .. } = &instance.userdata;
        let Programs { agent, gateway, nodes, agent_nodes, .. } = &programs;
        ensure!(*agent_url == agent.url()?, "{agent_url} is not the program");

        ensure!(instance.report("running").await?.status == 200);
        let route = "/1.0/sessions/{id}";
        let of_report = |line: &Value| line["route"] == route && line["method"] == "PATCH";
        let line = access_line(agent, of_report).await?;
        is_complete(&line)?;
        ensure!(line["code"] == 200 && line["message"] == "answered", "{line}");
        ensure!(line["bytes"].as_u64() > Some(0), "{line}");

        let of_client = created["url"].as_str().context("a url")?;
        let of_instance = agent_url.replacen("https", "wss", 1) + &instance.path("/sockets/master");
        for (unit, pin, url, token, route) in [
            // The session ends when its client has left.
            (agent, agent_nodes.agent_pin()?, of_instance.as_str(), Some(&**token), MASTER),
            (gateway, nodes.gateway_pin()?, of_client, None, SLAVE),
        ] {
            let tls = Arc::new(tls_config(&Trust::Pins(vec![pin]), None)?);
            let socket = Socket::open_as(url, &tls, token).await?;
            let of_socket = |line: &Value| line["target"] == "access" && line["code"] == 101;
            ensure!(!lines(unit)?.iter().any(of_socket), "it is open: {}", unit.log_text());
            socket.close().await?;
            let line = access_line(unit, of_socket).await?;
            is_complete(&line)?;
            ensure!(line["message"] == "socket closed" && line["route"] == route, "{line}");
            ensure!(line["method"] == "GET", "{line}");
        }
        // The address of a socket has its token in it.
        let (_, of_socket) = of_client.split_once("token=").context("a token")?;
        let of_socket = of_socket.split('&').next().context("a token")?;
        for log in [gateway.log_text(), agent.log_text()] {
            ensure!(!log.contains(&**token) && !log.contains(of_socket), "a token is in the log");
        }
        programs.stop().await
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
