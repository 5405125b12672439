//! Units that are told to end: what they had goes on elsewhere, and nobody is refused.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use crate::support::fleet::{Fleet, Unit};
use crate::support::socket::{self, Socket};
use crate::support::{APP, STEP_TIMEOUT, eventually, light_instances, run_flow};
use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stream_dev::in_process::Options;
use stream_pki::{Trust, client_config};
use stream_protocol::{Presence, SessionDocument};
use stream_supervisor::spawn_detached;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use toml::toml;

const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");
const GATEWAY: &str = env!("CARGO_BIN_EXE_stream-gateway");

async fn fleet(agents: usize, gateways: usize) -> anyhow::Result<Fleet> {
    let agent = toml! { agent.capacity = 1_000 };
    let options = Options { launcher: light_instances(), agent, ..Options::default() };
    Fleet::start(options, agents, gateways).await
}

/// Runs one of the programs beside a unit, as an operator does.
async fn operate(program: &str, words: &[&str], unit: &Unit) -> anyhow::Result<Output> {
    let mut command = Command::new(program);
    command.args(words).arg("--socket").arg(unit.socket()).kill_on_drop(true);
    Ok(tokio::time::timeout(STEP_TIMEOUT, command.output()).await??)
}

/// Creates so many sessions and waits until their instances run.
async fn sessions(fleet: &Fleet, count: usize) -> anyhow::Result<Vec<Value>> {
    let create = async |n: usize| {
        let created = fleet.http.create_with_key(APP, &format!("session-{n}")).await?;
        ensure!(created.status == StatusCode::CREATED, "{created:?}");
        anyhow::Ok(created.body["metadata"].clone())
    };
    let created = try_join_all((0..count).map(create)).await?;
    eventually("all active", async || {
        let active = fleet.http.get("/1.0/sessions?status=active").await?.success()?;
        Ok((active.as_array().map(Vec::len) == Some(count)).then_some(()))
    })
    .await?;
    Ok(created)
}

fn path_of(created: &Value) -> anyhow::Result<String> {
    Ok(format!("/1.0/sessions/{}", created["id"].as_str().context("an id")?))
}

/// How many sessions each agent has.
async fn owners(fleet: &Fleet) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut owners = BTreeMap::new();
    for document in fleet.documents().await? {
        let owner = document.owner.map(|owner| owner.to_string()).context("an owner")?;
        *owners.entry(owner).or_default() += 1;
    }
    Ok(owners)
}

#[test]
fn an_agent_that_drains_hands_its_sessions_over_and_ends() {
    run_flow(async || {
        let mut fleet = fleet(3, 1).await?;
        let created = sessions(&fleet, 12).await?;
        let drained = &mut fleet.agents[0];
        let output = operate(AGENT, &["drain", "--deadline", "30s"], drained).await?;
        ensure!(output.status.success(), "{output:?}");
        ensure!(String::from_utf8_lossy(&output.stderr).contains("the service has ended"));
        drained.ends_well().await?;
        let gone = drained.nodes.agent.clone();

        let owners = owners(&fleet).await?;
        ensure!(!owners.contains_key(&gone), "{owners:?}");
        for created in &created {
            let join = format!("{}/join", path_of(created)?);
            fleet.http.send(Method::POST, &join, None).await?.success()?;
        }
        for created in &created {
            fleet.http.send(Method::DELETE, &path_of(created)?, None).await?.success()?;
        }
        fleet.stack.ams.wait_until(|instances| instances.is_empty(), STEP_TIMEOUT).await?;
        Ok(())
    });
}

#[test]
fn a_drain_that_is_cancelled_has_the_agent_serve_as_before() {
    run_flow(async || {
        let fleet = fleet(1, 1).await?;
        let agent = &fleet.agents[0];
        // Somebody who could take over what this agent has, and never does.
        let bystander = bystander(&fleet).await?;
        sessions(&fleet, 1).await?;
        let socket = agent.socket();
        let (told, waited) = tokio::sync::oneshot::channel();
        spawn_detached("the operator's drain", async move {
            let mut command = Command::new(AGENT);
            let drain = command.args(["drain", "--socket"]).arg(socket).kill_on_drop(true);
            // Nobody waits for it when the test has failed.
            let _ = told.send(drain.output().await);
        });
        let tries = std::cell::Cell::new(0);
        let refused = eventually("refused", async || {
            bystander.announce(&fleet).await?;
            // A key that came before the drain has its answer for good.
            let key = format!("late-{}", tries.replace(tries.get() + 1));
            let answer = fleet.http.create_with_key(APP, &key).await?;
            Ok((answer.status == StatusCode::SERVICE_UNAVAILABLE).then_some(answer))
        });
        ensure!(refused.await?.retry_after, "until when?");
        ensure!(operate(AGENT, &["drain", "--cancel"], agent).await?.status.success());
        let waited = tokio::time::timeout(STEP_TIMEOUT, waited).await???;
        ensure!(waited.status.success(), "{waited:?}");
        ensure!(String::from_utf8_lossy(&waited.stderr).contains("cancelled"), "{waited:?}");
        let again = async || {
            let answer = fleet.http.create_with_key(APP, "after").await?;
            Ok((answer.status == StatusCode::CREATED).then_some(()))
        };
        eventually("created", again).await?;
        let nothing = operate(AGENT, &["drain", "--cancel"], agent).await?;
        ensure!(nothing.status.code() == Some(1), "{nothing:?}");
        Ok(())
    });
}

/// An agent that says it is there and answers nobody.
struct Bystander(Presence);

impl Bystander {
    async fn announce(&self, fleet: &Fleet) -> anyhow::Result<()> {
        let bucket = stream_protocol::subjects::Bucket::Agents;
        Ok(fleet.bridge.put(bucket, self.0.agent.as_str(), &self.0).await.map(drop)?)
    }
}

async fn bystander(fleet: &Fleet) -> anyhow::Result<Bystander> {
    let bucket = stream_protocol::subjects::Bucket::Agents;
    let all = fleet.bridge.list::<Presence>(bucket).await?;
    let (_, entry) = all.into_iter().next().context("an agent")?;
    Ok(Bystander(Presence { agent: "bystander".parse()?, capacity: 0, ..entry.value }))
}

#[test]
fn an_agent_without_others_ends_at_once_and_finds_its_sessions_again() {
    run_flow(async || {
        let mut fleet = fleet(1, 1).await?;
        let created = sessions(&fleet, 3).await?;
        // What a service manager does; it kills who takes more than five seconds.
        fleet.agents[0].process.stop();
        fleet.agents[0].restart().await?;
        for created in created {
            let path = path_of(&created)?;
            let join = async || {
                let joined = fleet.http.send(Method::POST, &format!("{path}/join"), None).await?;
                Ok(joined.status.is_success().then_some(()))
            };
            eventually("joined", join).await?;
        }
        ensure!(owners(&fleet).await? == BTreeMap::from([("agent-0".to_owned(), 3)]));
        Ok(())
    });
}

#[test]
fn a_session_whose_only_agent_is_gone_ends_when_it_is_forced() {
    run_flow(async || {
        let mut fleet = fleet(1, 1).await?;
        let path = path_of(&sessions(&fleet, 1).await?[0])?;
        fleet.agents[0].process.kill();
        let away = fleet.http.send(Method::DELETE, &path, None).await?;
        ensure!(away.status == StatusCode::SERVICE_UNAVAILABLE, "{away:?}");
        let forced = format!("{path}?force=true");
        fleet.http.send(Method::DELETE, &forced, None).await?.success()?;
        let session = fleet.http.get(&path).await?.success()?;
        ensure!(session["status"] == "terminated", "{session}");
        let cause = session["status_message"].as_str().context("a cause")?;
        ensure!(cause.ends_with("forced, the agent was away"), "{cause}");
        let document = fleet.documents().await?.pop().context("a document")?;
        ensure!(document.instance_left_behind, "{document:?}");
        Ok(())
    });
}

#[test]
fn an_agent_that_dies_is_succeeded_within_twenty_seconds_and_nats_may_restart() {
    run_flow(async || {
        let mut fleet = fleet(2, 1).await?;
        sessions(&fleet, 10).await?;
        let before = owners(&fleet).await?;
        // Empties presence: as if all had died.
        fleet.stack.nats.kill();
        fleet.stack.nats.restart()?;
        fleet.all_present().await?;
        // A lease, and half as long again, in which somebody would be missed.
        let taken_over =
            |document: &SessionDocument| document.last_cause().starts_with("taken over");
        let until = tokio::time::Instant::now() + Duration::from_secs(17);
        while tokio::time::Instant::now() < until {
            let hasty = fleet.documents().await.unwrap_or_default().into_iter().find(taken_over);
            ensure!(hasty.is_none(), "{hasty:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        ensure!(owners(&fleet).await? == before);

        fleet.agents[0].process.kill();
        let died = tokio::time::Instant::now();
        let gone = fleet.agents[0].nodes.agent.clone();
        let adopted = async || Ok((!owners(&fleet).await?.contains_key(&gone)).then_some(()));
        eventually("all taken over", adopted).await?;
        println!("taken over {:?} after the death of their agent", died.elapsed());
        Ok(())
    });
}

#[test]
fn who_is_connected_when_a_gateway_takes_no_more_connections_still_gets_an_answer() {
    run_flow(async || {
        let mut fleet = fleet(1, 1).await?;
        let port = fleet.gateways[0].nodes.gateway_port;
        let connected = || TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        stream_admin::Client::new(fleet.gateways[0].socket())
            .drain(Some(Duration::from_secs(20)))
            .await?;
        let pin = fleet.stack.nodes.gateway_pin()?;
        let mut late = socket::connect(&format!("127.0.0.1:{port}"), pin).await?;
        let refused = async {
            while connected().await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(STEP_TIMEOUT, refused).await?;
        late.write_all(b"GET /1.0/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let mut answer = String::new();
        // Up to the end: the connection goes with the answer.
        late.read_to_string(&mut answer).await?;
        ensure!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
        ensure!(answer.contains("connection: close"), "{answer:?}");
        fleet.gateways[0].ends_well().await
    });
}

#[test]
fn a_gateway_that_drains_sends_away_who_can_go_on_elsewhere_and_waits_for_the_others() {
    run_flow(async || {
        let mut fleet = fleet(1, 1).await?;
        let created = sessions(&fleet, 2).await?;
        let urls = created.iter().map(|one| one["url"].as_str().context("a url"));
        let urls: Vec<_> = urls.collect::<anyhow::Result<_>>()?;
        let trust = Trust::Pins(vec![fleet.stack.nodes.gateway_pin()?]);
        let tls = Arc::new(client_config(&trust, None)?);
        let mut page = Socket::open_as(&format!("{}&after=", urls[0]), &tls, None).await?;
        ensure!(page.next().await?["type"] == "resumed");
        let mut plain = Socket::open_as(urls[1], &tls, None).await?;

        let gateway = &fleet.gateways[0];
        let socket = gateway.socket();
        let (told, waited) = tokio::sync::oneshot::channel();
        spawn_detached("the operator's drain", async move {
            let mut command = Command::new(GATEWAY);
            command.args(["drain", "--deadline", "20", "--socket"]).arg(socket);
            let _ = told.send(command.kill_on_drop(true).output().await);
        });
        let hint = page.next().await?;
        ensure!(hint["type"] == "error" && hint["retry_after_ms"].is_u64(), "{hint}");
        match page.next_frame().await? {
            Some(Message::Close(Some(close))) => ensure!(close.code == CloseCode::Restart),
            other => anyhow::bail!("not closed: {other:?}"),
        }
        let status = fleet.http.get("/1.0/status").await?;
        ensure!(status.status == StatusCode::SERVICE_UNAVAILABLE, "{status:?}");
        // Who has not connected yet goes on, and is joined by nobody who is turned away.
        plain.send(&json!({ "type": "discover" })).await?;
        let joined = format!("{}/join", path_of(&created[0])?);
        fleet.http.send(Method::POST, &joined, None).await?.success()?;
        ensure!(fleet.gateways[0].process.ended().is_none());
        plain.close().await?;
        fleet.gateways[0].ends_well().await?;
        let waited = tokio::time::timeout(STEP_TIMEOUT, waited).await???;
        ensure!(waited.status.success(), "{waited:?}");
        Ok(())
    });
}
