//! Actors fail again and again under a steady load of whole sessions.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::Context;
use reqwest::{Method, StatusCode};
use serde_json::json;
use stream_agent::dev::stack::{Options, Stack};
use stream_supervisor::Supervisor;
use support::{APP, Answer, Http, PATIENCE, flow, light_instances};

/// Clients that create, watch and delete one session after the other.
const CLIENTS: usize = 3;

/// How often each actor fails.
fn failures() -> usize {
    if std::env::var_os("STREAM_TEST_LONG").is_some() { 1000 } else { 50 }
}

/// What the clients went through.
#[derive(Debug, Default)]
struct Tally {
    sessions: AtomicUsize,
    errors: AtomicUsize,
}

/// Asks until it is answered with success, as a client should; counts what was not.
async fn insist(
    tally: &Tally,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Answer>,
) -> anyhow::Result<Answer> {
    let insisting = async {
        loop {
            let answer = ask().await?;
            if answer.status.is_success() {
                return anyhow::Ok(answer);
            }
            tally.errors.fetch_add(1, Relaxed);
            let passing = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::INTERNAL_SERVER_ERROR];
            anyhow::ensure!(passing.contains(&answer.status), "{answer:?}");
        }
    };
    tokio::time::timeout(PATIENCE, insisting).await.context("no success in time")?
}

/// One session from its creation to its end.
async fn live(http: &Http, key: &str, tally: &Tally) -> anyhow::Result<()> {
    let created = insist(tally, async || http.create_with_key(APP, key).await).await?;
    let id = created.body["metadata"]["id"].as_str().context("an id")?.to_owned();
    let path = format!("/1.0/sessions/{id}");
    loop {
        let session = insist(tally, async || http.get(&path).await).await?;
        let session = &session.body["metadata"];
        anyhow::ensure!(session["id"] == json!(id), "another session: {session}");
        match session["status"].as_str() {
            Some("created") => tokio::task::yield_now().await,
            Some("active") => break,
            _ => anyhow::bail!("{session}"),
        }
    }
    let joined =
        insist(tally, async || http.send(Method::POST, &format!("{path}/join"), None).await);
    anyhow::ensure!(joined.await?.body["metadata"]["id"] == json!(id));
    insist(tally, async || http.send(Method::DELETE, &path, None).await).await?;
    tally.sessions.fetch_add(1, Relaxed);
    Ok(())
}

/// Has the actor called `name` fail while clients come and go, and looks what they noticed.
async fn survive(stack: &Stack, program: &str, name: &'static str) -> anyhow::Result<()> {
    let supervisor = match program {
        "agent" => &stack.agent.supervisor,
        _ => &stack.gateway.supervisor,
    };
    let http = Http::new(&stack.site.gateway_url(), Some(&stack.token), stack.site.gateway_pin()?)?;
    let tally = Tally::default();
    supervisor.never_tire();
    let before = restarts(stack);
    let begun = restarts_of(supervisor, name);
    let done = AtomicUsize::new(0);
    let client = async |n: usize| {
        let mut round = 0;
        while done.load(Relaxed) == 0 {
            live(&http, &format!("{name}-{n}-{round}"), &tally).await?;
            round += 1;
        }
        anyhow::Ok(())
    };
    let failing = async {
        for n in 1..=failures() {
            anyhow::ensure!(supervisor.crash(name), "there is no actor {name}");
            // Each failure meets a running actor, under load.
            let sessions = tally.sessions.load(Relaxed);
            let wait = async {
                while restarts_of(supervisor, name) < begun + n as u64
                    || (n % 10 == 0 && tally.sessions.load(Relaxed) == sessions)
                {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, wait).await.context("it is not rebuilt")?;
        }
        done.store(1, Relaxed);
        Ok(())
    };
    let clients = futures_util::future::try_join_all((0..CLIENTS).map(client));
    futures_util::try_join!(failing, async { clients.await.map(drop) })?;

    let (sessions, errors) = (tally.sessions.into_inner(), tally.errors.into_inner());
    anyhow::ensure!(sessions >= CLIENTS, "hardly any load: {sessions} sessions");
    anyhow::ensure!(errors <= failures(), "{errors} errors of {} failures", failures());
    for ((actor, before), (_, after)) in before.iter().zip(restarts(stack)) {
        let expected = if *actor == format!("{program} {name}") { failures() as u64 } else { 0 };
        anyhow::ensure!(after - before == expected, "{actor} restarted {} times", after - before);
    }
    stack.ams.wait_until(|instances| instances.is_empty(), PATIENCE).await?;
    Ok(())
}

/// How often every actor of both programs was restarted.
fn restarts(stack: &Stack) -> Vec<(String, u64)> {
    let programs = [("agent", &stack.agent.supervisor), ("gateway", &stack.gateway.supervisor)];
    let actors = programs.into_iter().flat_map(|(program, supervisor)| {
        let actors = supervisor.status().into_iter();
        actors.map(move |actor| (format!("{program} {}", actor.name), actor.restarts))
    });
    actors.collect()
}

fn restarts_of(supervisor: &Supervisor, name: &str) -> u64 {
    let actors = supervisor.status();
    actors.iter().find(|actor| actor.name == name).map_or(0, |actor| actor.restarts)
}

async fn stack() -> anyhow::Result<Stack> {
    Stack::start(Options { launcher: light_instances(), ..Options::default() }).await
}

macro_rules! survives {
    ($($test:ident: $program:ident, $actor:literal;)*) => {
        $(#[test]
        fn $test() {
            flow(async || {
                let stack = stack().await?;
                survive(&stack, stringify!($program), $actor).await
            });
        })*
    };
}

survives! {
    clients_do_not_notice_when_pki_of_the_agent_fails: agent, "pki";
    clients_do_not_notice_when_bridge_of_the_agent_fails: agent, "bridge";
    clients_do_not_notice_when_ams_fails: agent, "ams";
    clients_do_not_notice_when_tokens_of_the_agent_fails: agent, "tokens";
    clients_do_not_notice_when_turn_fails: agent, "turn";
    clients_do_not_notice_when_sessions_fails: agent, "sessions";
    clients_do_not_notice_when_api_fails: agent, "api";
    clients_do_not_notice_when_pki_of_the_gateway_fails: gateway, "pki";
    clients_do_not_notice_when_bridge_of_the_gateway_fails: gateway, "bridge";
    clients_do_not_notice_when_tokens_of_the_gateway_fails: gateway, "tokens";
    clients_do_not_notice_when_gateway_fails: gateway, "gateway";
}
