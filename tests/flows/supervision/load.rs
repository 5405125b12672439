//! A steady load of whole sessions, and what its clients go through.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use anyhow::{Context, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stream_dev::in_process::{Options, Stack};
use stream_protocol::TokenKind;
use stream_supervisor::{ActorStatus, Supervisor};
use stream_tokens::Mint;

use crate::support::{APP, Answer, Http, STEP_TIMEOUT, light_instances};

/// Clients that create, watch and delete one session after the other.
pub(crate) const CLIENTS: usize = 3;

/// What the clients went through.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    sessions: AtomicUsize,
    errors: AtomicUsize,
}

impl Tally {
    /// Whole sessions, from their creation to their end.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Relaxed)
    }

    /// Requests that were refused for the moment.
    pub(crate) fn errors(&self) -> usize {
        self.errors.load(Relaxed)
    }
}

/// Somebody who may read the agent's page for Prometheus.
pub(crate) async fn watcher(stack: &Stack) -> anyhow::Result<Http> {
    let mint = Mint::new(TokenKind::Monitor, "watcher");
    let token = stack.agent.tokens.mint(mint).await?.token;
    Http::new(&stack.nodes.agent_url(), Some(&token), stack.nodes.agent_pin()?)
}

pub(crate) async fn stack() -> anyhow::Result<Stack> {
    Stack::start(Options { launcher: light_instances(), ..Options::default() }).await
}

/// Does `work` while clients come and go, each of which completes the session it is at when that is
/// done. Fails when a client was lied to, or left without an answer.
pub(crate) async fn under_load(
    stack: &Stack,
    name: &str,
    work: impl AsyncFnOnce(&Tally) -> anyhow::Result<()>,
) -> anyhow::Result<Tally> {
    let http =
        Http::new(&stack.nodes.gateway_url(), Some(&stack.token), stack.nodes.gateway_pin()?)?;
    let (tally, done) = (Tally::default(), AtomicBool::new(false));
    let client = async |number: usize| {
        let mut round = 0;
        while !done.load(Relaxed) {
            live(&http, &format!("{name}-{number}-{round}"), &tally).await?;
            round += 1;
        }
        anyhow::Ok(())
    };
    let worked = async {
        work(&tally).await?;
        done.store(true, Relaxed);
        anyhow::Ok(())
    };
    let clients = futures_util::future::try_join_all((0..CLIENTS).map(client));
    futures_util::try_join!(worked, async { clients.await.map(drop) })?;
    stack.ams.wait_until(|instances| instances.is_empty(), STEP_TIMEOUT).await?;
    Ok(tally)
}

/// One session from its creation to its end.
pub(crate) async fn live(http: &Http, key: &str, tally: &Tally) -> anyhow::Result<()> {
    let created = insist(tally, async || http.create_with_key(APP, key).await).await?;
    let id = created["id"].as_str().context("an id")?.to_owned();
    let path = format!("/1.0/sessions/{id}");
    let is_ours = |session: &Value| {
        let ours = session["id"] == json!(id);
        ensure!(ours, "asked for {id}, told of {session}");
        anyhow::Ok(())
    };
    let look = async || {
        let session = insist(tally, async || http.get(&path).await).await?;
        is_ours(&session)?;
        ensure!(session["app"] == json!(APP), "{session}");
        Ok(session["status"].as_str().unwrap_or_default().to_owned())
    };
    let boot = async {
        loop {
            match look().await?.as_str() {
                "created" => tokio::task::yield_now().await,
                "active" => return Ok(()),
                status => anyhow::bail!("session {id} is {status}"),
            }
        }
    };
    tokio::time::timeout(STEP_TIMEOUT, boot).await.context("a session is never active")??;
    let join = async || http.send(Method::POST, &format!("{path}/join"), None).await;
    is_ours(&insist(tally, join).await?)?;
    insist(tally, async || http.send(Method::DELETE, &path, None).await).await?;
    let status = look().await?;
    ensure!(["terminating", "terminated"].contains(&&*status), "deleted, session {id} is {status}");
    tally.sessions.fetch_add(1, Relaxed);
    Ok(())
}

/// Asks until it is answered with success, as a client should; counts what was not.
async fn insist(
    tally: &Tally,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Answer>,
) -> anyhow::Result<Value> {
    let insisting = async {
        loop {
            let answer = ask().await?;
            if answer.status.is_success() {
                return answer.success();
            }
            tally.errors.fetch_add(1, Relaxed);
            let passing = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::INTERNAL_SERVER_ERROR];
            ensure!(passing.contains(&answer.status), "{answer:?}");
            log::info!("a client tries again: {answer:?}");
        }
    };
    tokio::time::timeout(STEP_TIMEOUT, insisting).await.context("no success in time")?
}

/// Every actor of both programs, with the name of its program.
pub(crate) fn actors(stack: &Stack) -> Vec<(&'static str, ActorStatus)> {
    let programs = [("agent", &stack.agent.supervisor), ("gateway", &stack.gateway.supervisor)];
    let actors = programs.into_iter().flat_map(|(program, supervisor)| {
        supervisor.status().into_iter().map(move |actor| (program, actor))
    });
    actors.collect()
}

/// How the actor called `name` is.
pub(crate) fn actor(supervisor: &Supervisor, name: &str) -> anyhow::Result<ActorStatus> {
    let actors = supervisor.status();
    let found = actors.into_iter().find(|actor| actor.name == name);
    found.with_context(|| format!("there is no actor {name}"))
}
