//! Who is the client of a session: what becomes of one that is there when another one comes, and
//! of one that goes.

use std::time::{Duration, Instant};

use crate::support::fleet::Fleet;
use crate::support::socket::Socket;
use crate::support::{
    APP, Answer, Http, Instance, ScriptedStack, eventually, light_instances, run_flow,
};
use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stream_bridge::Bridge;
use stream_dev::in_process::Options;
use stream_protocol::subjects::Bucket;
use stream_simulators::client::JoinedSession;
use stream_supervisor::Supervisor;
use toml::toml;

/// A session that runs and keeps the client it has, and the gateway as its account sees it.
struct Exclusive {
    scripted: ScriptedStack,
    created: JoinedSession,
    instance: Instance,
    http: Http,
}

impl Exclusive {
    async fn start() -> anyhow::Result<Self> {
        let mut scripted = ScriptedStack::start().await?;
        let request = json!({ "app": APP, "joinable": true, "on_conflict": "reject" });
        let created = scripted.client.create_from(&request).await?;
        let instance = scripted.booted().await?;
        instance.report("running").await?.success()?;
        let (nodes, token) = (&scripted.stack.nodes, &scripted.stack.token);
        let http = Http::new(&nodes.gateway_url(), Some(token), nodes.gateway_pin()?)?;
        Ok(Self { scripted, created, instance, http })
    }

    async fn join(&self) -> anyhow::Result<Answer> {
        let path = format!("/1.0/sessions/{}/join", self.created.id);
        self.http.send(Method::POST, &path, None).await
    }

    /// Joins as soon as there is a place; returns how long that took, and the answer.
    async fn join_in_time(&self) -> anyhow::Result<(Duration, Value)> {
        let begun = Instant::now();
        let joined = eventually("joined", async || {
            let answer = self.join().await?;
            Ok((answer.status == StatusCode::OK).then_some(answer))
        });
        Ok((begun.elapsed(), joined.await?.success()?))
    }

    async fn is_taken(&self) -> anyhow::Result<()> {
        let answer = self.join().await?;
        ensure!(answer.status == StatusCode::BAD_REQUEST, "{answer:?}");
        let why = "session has a client, and does not replace it";
        ensure!(answer.body["error"] == why, "{answer:?}");
        Ok(())
    }

    async fn report_client(&self, client: &str, generation: u64) -> anyhow::Result<()> {
        let report = json!({ "client": client, "generation": generation });
        let path = self.instance.path("");
        self.instance.http.send(Method::PATCH, &path, Some(report)).await?.success().map(drop)
    }
}

#[test]
fn a_client_keeps_its_slot_from_the_socket_to_the_stream_and_to_its_end() {
    run_flow(async || {
        let session = Exclusive::start().await?;
        session.is_taken().await.context("before it has opened its socket")?;
        let socket = Socket::open(&session.created, &session.scripted.stack).await?;
        session.is_taken().await?;
        // As browsers do when their stream is connected; the instance says so a little later.
        socket.close().await?;
        session.is_taken().await.context("between socket and stream")?;
        session.report_client("connected", 0).await?;
        let until = Instant::now() + Duration::from_secs(6);
        while Instant::now() < until {
            session.is_taken().await.context("while it watches")?;
        }
        session.report_client("disconnected", 0).await?;
        session.join().await?.success()?;
        session.is_taken().await.context("by the next one")
    });
}

#[test]
fn a_frozen_client_loses_its_slot_and_the_next_one_enters() {
    run_flow(async || {
        let session = Exclusive::start().await?;
        // Nobody reads it any more: its pings stay unanswered.
        let _frozen = Socket::open(&session.created, &session.scripted.stack).await?;
        let frozen = Instant::now();
        let (_, joined) = session.join_in_time().await?;
        println!("the slot was free after {:?}", frozen.elapsed());
        let url = joined["url"].as_str().context("a url")?;
        let mut next = Socket::open_url(url, &session.scripted.stack).await?;
        session.instance.write("o", 1, json!({ "type": "offer" })).await?.success()?;
        ensure!(next.next().await? == json!({ "type": "offer" }));
        Ok(())
    });
}

#[test]
fn of_many_that_join_at_once_one_gets_the_slot() {
    run_flow(async || {
        let session = Exclusive::start().await?;
        let nats = session.scripted.stack.nats.bridge();
        let bridge = Bridge::start(nats, "test", &Supervisor::default())?;
        let races = if std::env::var_os("STREAM_TEST_LONG").is_some() { 1_000 } else { 5 };
        for round in 0..races {
            // Freed by its end; nobody has opened a socket.
            session.report_client("connected", round).await?;
            session.report_client("disconnected", round).await?;
            eventually("freed", async || {
                Ok(bridge.remove(Bucket::Clients, &session.created.id).await.ok())
            })
            .await?;
            let answers = try_join_all((0..100).map(async |_| session.join().await)).await?;
            let entered = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
            ensure!(entered == 1, "{entered} entered in round {round}: {answers:?}");
        }
        Ok(())
    });
}

#[test]
fn a_join_that_fails_leaves_the_client_that_is_there() {
    run_flow(async || {
        let options = Options { launcher: light_instances(), ..Options::default() };
        let mut fleet = Fleet::start(options, 1, 1).await?;
        let created = fleet.http.create_with_key(APP, "watched").await?.success()?;
        let path = format!("/1.0/sessions/{}", created["id"].as_str().context("an id")?);
        eventually("active", async || {
            let session = fleet.http.get(&path).await?.success()?;
            Ok((session["status"] == "active").then_some(()))
        })
        .await?;
        fleet.agents[0].process.kill();
        let refused = fleet.http.send(Method::POST, &format!("{path}/join"), None).await?;
        ensure!(refused.status == StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
        let document = fleet.documents().await?.pop().context("a document")?;
        ensure!(document.generation == 0, "{document:?}");
        ensure!(document.desired.client.is_some(), "{document:?}");
        Ok(())
    });
}

#[test]
fn a_gateway_that_stops_tells_the_instance_of_a_client_that_has_just_left() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        instance.report("running").await?.success()?;
        Socket::open(&created, &scripted.stack).await?.close().await?;
        // Long before the client counts as gone.
        scripted.stack.gateway.stop().await;
        let commands = instance.commands(0, 0).await?;
        ensure!(commands["client"].is_null(), "{commands}");
        Ok(())
    });
}

#[test]
fn an_instance_hears_that_its_client_has_left_only_when_it_has() {
    run_flow(async || {
        let gateway = toml! { gateway.client_grace_s = 1 };
        let options = Options { gateway, ..Options::default() };
        let mut scripted = ScriptedStack::start_with(options).await?;
        let (created, instance) = scripted.create().await?;
        instance.report("running").await?.success()?;
        let client = async || anyhow::Ok(instance.commands(0, 0).await?["client"].clone());
        let is_named = async || Ok((!client().await?.is_null()).then_some(()));
        // It comes back within the time it has. Whoever wanted to see it off finds it there, or is
        // corrected.
        Socket::open(&created, &scripted.stack).await?.close().await?;
        let socket = Socket::open(&created, &scripted.stack).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        eventually("named", is_named).await?;

        // Its stream goes on without a socket.
        let connected = json!({ "client": "connected", "generation": 0 });
        instance.http.send(Method::PATCH, &instance.path(""), Some(connected)).await?.success()?;
        socket.close().await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        ensure!(!client().await?.is_null(), "its stream goes on");

        let left = json!({ "client": "disconnected", "generation": 0 });
        instance.http.send(Method::PATCH, &instance.path(""), Some(left)).await?.success()?;
        Socket::open(&created, &scripted.stack).await?.close().await?;
        eventually("told that it has left", async || {
            let commands = instance.commands(0, 0).await?;
            Ok((commands["client"].is_null() && commands["signaling"] == "closed").then_some(()))
        })
        .await?;
        // And later it returns all the same.
        let _socket = Socket::open(&created, &scripted.stack).await?;
        eventually("named again", is_named).await
    });
}
