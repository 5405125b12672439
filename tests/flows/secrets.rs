//! What must stay between those who hold it: nothing of it is in a log, in a metric or in an error.

use std::fmt::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;

use crate::support::socket::Socket;
use crate::support::{Http, STEP_TIMEOUT, ScriptedStack, eventually, run_flow};
use anyhow::Context;
use log::kv::{Key, Value, VisitSource};
use log::{Log, Metadata, Record};
use reqwest::Method;
use serde_json::json;
use stream_agent::logging::FINEST;
use stream_dev::in_process::{Options, Stack};
use stream_dev::ports;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// All that is logged in this process, by both services and everything they use, as finely as a
/// service ever does.
struct Everything(Mutex<String>);

static LOGGED: Everything = Everything(Mutex::new(String::new()));

impl Everything {
    fn text(&self) -> String {
        self.0.lock().expect("nobody panics with it").clone()
    }
}

impl Log for Everything {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.target().starts_with(CLIENT)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut line = format!("{} {} {}", record.level(), record.target(), record.args());
        record.key_values().visit(&mut Fields(&mut line)).expect("a string takes all text");
        let mut text = self.0.lock().expect("nobody panics with it");
        text.push_str(&line);
        text.push('\n');
    }

    fn flush(&self) {}
}

/// Writes the fields of a log line behind its text.
struct Fields<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        Ok(write!(self.0, " {key}={value}")?)
    }
}

/// Carries the sockets of the clients, which the test plays, and tells all that passes.
const CLIENT: &str = "tungstenite";

/// What every token of ours begins with, after a byte or two that differ: `anbox-strea`.
const MARK: &str = "YW5ib3gtc3RyZW";

/// Drives a session through everything that has to do with tokens; returns them, the passwords
/// beside them, and what both services have answered to strangers and to Prometheus.
async fn drive() -> anyhow::Result<(Vec<String>, String)> {
    let mut scripted = ScriptedStack::start().await?;
    let (created, instance) = scripted.create().await?;
    instance.report("running").await?.success()?;
    let nodes = &scripted.stack.nodes;
    let account = scripted.stack.token.clone();
    let gateway = Http::new(&nodes.gateway_url(), Some(&account), nodes.gateway_pin()?)?;
    let token_in = |url: &str| Some(url.split_once("token=")?.1.to_owned());
    let mut secrets = vec![account.clone(), instance.userdata.token.clone()];
    let mut told = String::new();

    let mut socket =
        Socket::open_url(&format!("{}&tickets=1", created.url), &scripted.stack).await?;
    secrets.push(token_in(&created.url).context("a token")?);
    let ticket = socket.next().await?;
    secrets.push(ticket["token"].as_str().context("a ticket")?.to_owned());
    socket.send(&json!({ "type": "answer", "sdp": "c2RwLXNlY3JldA" })).await?;
    secrets.push("c2RwLXNlY3JldA".to_owned());
    instance.read(None, 20).await?;

    let path = format!("/1.0/sessions/{}", created.id);
    let share = Some(json!({ "type": "control" }));
    let share = gateway.send(Method::POST, &format!("{path}/share"), share).await?.success()?;
    let link = share["url"].as_str().context("a link")?;
    let (_, shared) = link.split_once("share=").context("a token")?;
    secrets.push(shared.to_owned());
    let connect = format!("{path}/connect?type=control&token={shared}");
    let joined = gateway.with(None).get(&connect).await?.success()?;
    let url = joined["url"].as_str().context("a socket")?;
    secrets.push(token_in(url).context("a token")?);
    drop(Socket::open_url(url, &scripted.stack).await?);

    // What is wrong is told to whoever asks: never with what they have sent.
    let spoilt = format!("{}AA", &account[..account.len() - 2]);
    secrets.push(spoilt.clone());
    for http in [&gateway, &instance.http] {
        for (token, path) in [
            (Some(spoilt.as_str()), path.clone()),
            (None, format!("{path}?api_token={account}")),
            (None, format!("{path}/sockets/slave?token={spoilt}")),
            (None, format!("{path}/connect?token={spoilt}")),
            (None, format!("/nowhere?token={account}")),
        ] {
            told.push_str(&format!("{:?}\n", http.with(token).get(&path).await?));
        }
    }
    told.push_str(&gateway.get("/metrics").await?.body.to_string());
    told.push_str(
        &scripted
            .stack
            .gateway
            .supervisor
            .status()
            .iter()
            .map(|s| format!("{s:?}"))
            .collect::<String>(),
    );

    for file in [nodes.gateway_dir(), nodes.agent_dir()] {
        secrets.push(std::fs::read_to_string(file.join("sealing.key"))?.trim().to_owned());
    }
    secrets.extend(nodes.root_keys()?);
    secrets.push(std::fs::read_to_string(scripted.stack.nats.token())?.trim().to_owned());
    scripted.stack.agent.tokens.rotate(std::time::Duration::ZERO).await?;
    scripted.client.delete(&created.id).await?;
    eventually("over", async || {
        Ok((scripted.client.get(&created.id).await?.status == "terminated").then_some(()))
    })
    .await?;
    told.push_str(&format!("{:?}\n", instance.http.get(&instance.path("")).await?));
    scripted.stack.restart_agent().await?;
    scripted.stack.stop().await;
    Ok((secrets, told))
}

#[test]
fn no_secret_is_in_the_finest_log_nor_in_a_metric_or_an_error() {
    log::set_logger(&LOGGED).expect("the only logger");
    log::set_max_level(FINEST);
    let (secrets, told) = actix::System::new().block_on(drive()).expect("the flow completes");
    let logged = LOGGED.text();
    for expected in ["client socket opened", "tokens: rotated", "/connect status=200", "DEBUG"] {
        assert!(logged.contains(expected), "{expected} is missing: is this the log?");
    }
    assert!(told.contains("http_requests_total"), "the metrics are missing");
    for (what, text) in [("log", &logged), ("answers", &told)] {
        let line = text.lines().find(|line| {
            line.contains(MARK)
                || line.contains("?token=")
                || secrets.iter().any(|secret| line.contains(secret.as_str()))
        });
        assert_eq!(line, None, "in the {what}");
    }
}

/// A gateway like that of a stack, as a process of its own that is to log all it can.
fn talkative(stack: &Stack, dir: &Path) -> anyhow::Result<Child> {
    let (nodes, socket) = (&stack.nodes, dir.join("run/admin.socket"));
    let text = std::fs::read_to_string(nodes.dir.join("gateway.toml"))?
        .replace(
            &format!("listen = \"127.0.0.1:{}\"", nodes.gateway_port),
            &format!("listen = \"127.0.0.1:{}\"", ports::free()),
        )
        .replace(&nodes.admin_socket().display().to_string(), &socket.display().to_string());
    let config = dir.join("gateway.toml");
    std::fs::write(&config, text)?;
    let mut program = Command::new(env!("CARGO_BIN_EXE_stream-gateway"));
    program.args(["run", "--config"]).arg(config).env("RUST_LOG", "trace");
    Ok(program.stderr(Stdio::piped()).kill_on_drop(true).spawn()?)
}

#[test]
fn a_service_logs_no_finer_than_that_whatever_it_is_told() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let dir = tempfile::tempdir()?;
        let mut gateway = talkative(&stack, dir.path())?;
        let mut lines = BufReader::new(gateway.stderr.take().context("its log")?).lines();
        let mut debug = false;
        let connected = async {
            while let Some(line) = lines.next_line().await? {
                assert!(!line.contains(" TRACE"), "{line}");
                debug |= line.contains(" DEBUG");
                if line.contains("nats is connected") {
                    return anyhow::Ok(());
                }
            }
            anyhow::bail!("it ended")
        };
        tokio::time::timeout(STEP_TIMEOUT, connected).await??;
        assert!(debug, "it was told to say more");
        Ok(())
    });
}
