//! Sessions that take one client: who may join before it has come, and nobody after.

use crate::support::socket::Socket;
use crate::support::{APP, Answer, Http, Instance, ScriptedStack, run_flow};
use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use stream_simulators::client::JoinedSession;

/// A session that runs and is not joinable, and the gateway as its account sees it.
struct Single {
    scripted: ScriptedStack,
    created: JoinedSession,
    instance: Instance,
    http: Http,
}

impl Single {
    async fn start() -> anyhow::Result<Self> {
        let mut scripted = ScriptedStack::start().await?;
        let created = scripted.client.create_from(&json!({ "app": APP })).await?;
        let instance = scripted.booted().await?;
        instance.report("running").await?.success()?;
        let (nodes, token) = (&scripted.stack.nodes, &scripted.stack.token);
        let http = Http::new(&nodes.gateway_url(), Some(token), nodes.gateway_pin()?)?;
        Ok(Self { scripted, created, instance, http })
    }

    async fn ask(&self, what: &str, body: Option<Value>) -> anyhow::Result<Answer> {
        let path = format!("/1.0/sessions/{}/{what}", self.created.id);
        self.http.send(Method::POST, &path, body).await
    }

    async fn report_client(&self, client: &str, generation: u64) -> anyhow::Result<()> {
        let report = json!({ "client": client, "generation": generation });
        self.instance.report_as(report).await?.success().map(drop)
    }

    async fn generation(&self) -> anyhow::Result<Value> {
        Ok(self.instance.commands(0, 0).await?["generation"].clone())
    }

    /// Nobody joins it any more, and whoever tries is told what to do.
    async fn is_taken(&self) -> anyhow::Result<()> {
        is_refused(&self.ask("join", None).await?)
    }
}

fn is_refused(answer: &Answer) -> anyhow::Result<()> {
    ensure!(answer.status == 400, "{answer:?}");
    let why = answer.body["error"].as_str().unwrap_or_default();
    ensure!(why.contains(r#""joinable": true, "idle_time_min": N"#), "{why}");
    Ok(())
}

#[test]
fn a_session_that_is_not_joinable_takes_the_client_that_comes_first() {
    run_flow(async || {
        let session = Single::start().await?;
        // Whoever lost the answer to the creation; nobody has come.
        let joined = session.ask("join", None).await?.success()?;
        let url = joined["url"].as_str().context("a socket")?;
        ensure!(session.generation().await? == 1);
        session.report_client("connected", 1).await?;
        session.is_taken().await.context("it is there")?;

        // Its socket may break and be opened again.
        let mut socket = Socket::open_url(url, &session.scripted.stack).await?;
        session.instance.write("o", 1, json!({ "type": "offer" })).await?.success()?;
        ensure!(socket.next().await? == json!({ "type": "offer" }));
        socket.close().await?;
        let resumed = format!("{url}&after=");
        let mut socket = Socket::open_url(&resumed, &session.scripted.stack).await?;
        let first = socket.next().await?;
        ensure!(first["type"] == "resumed", "{first}");

        session.report_client("disconnected", 1).await?;
        session.is_taken().await.context("it may return")?;
        session.report_client("connected", 1).await?;
        ensure!(session.generation().await? == 1, "a refusal changes nothing");
        let read = session.scripted.client.get(&session.created.id).await?;
        ensure!((read.status.as_str(), read.joinable) == ("active", false), "{read:?}");
        Ok(())
    });
}

#[test]
fn an_answer_tells_that_the_client_has_come_where_the_instance_reports_none() {
    run_flow(async || {
        let of_client = Single::start().await?;
        let mut socket = Socket::open(&of_client.created, &of_client.scripted.stack).await?;
        of_client.instance.write("o", 0, json!({ "type": "offer" })).await?.success()?;
        socket.next().await?;
        socket.send(&json!({ "type": "answer" })).await?;
        let (_, signals) = of_client.instance.read(None, 20).await?;
        ensure!(signals.iter().any(|(_, signal)| signal["type"] == "answer"), "{signals:?}");
        of_client.is_taken().await?;

        let of_instance = Single::start().await?;
        let answer = json!({ "type": "answer" });
        of_instance.instance.write("a", 0, answer.clone()).await?.success()?;
        of_instance.is_taken().await?;
        ensure!(of_instance.generation().await? == 0);

        // One for a client that another one has replaced says nothing.
        let replaced = Single::start().await?;
        replaced.ask("join", None).await?.success()?;
        replaced.instance.write("a", 0, answer.clone()).await?.success()?;
        replaced.ask("join", None).await?.success()?;
        replaced.instance.write("b", 2, answer).await?.success()?;
        replaced.is_taken().await
    });
}

#[test]
fn a_session_that_is_not_joinable_is_not_shared() {
    run_flow(async || {
        let session = Single::start().await?;
        for role in ["control", "view"] {
            is_refused(&session.ask("share", Some(json!({ "type": role }))).await?)?;
        }
        ensure!(session.http.get("/1.0/shares").await?.success()? == json!([]));
        let nodes = &session.scripted.stack.nodes;
        let operator = stream_gateway::admin::Client::new(nodes.admin_socket());
        let made = operator.create_share(&session.created.id, "control", "", None).await;
        let why = made.err().context("it was shared")?.to_string();
        ensure!(why.contains("joinable"), "{why}");
        Ok(())
    });
}
