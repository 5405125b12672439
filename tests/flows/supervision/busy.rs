//! More work than an actor takes: it says so at once, on every way in, and grows no further.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::future::join_all;
use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::{self, SessionOp};
use stream_protocol::{ClientIce, Empty, RefusalCode};
use stream_supervisor::{Fault, Supervisor};

use super::load::{actor, watcher};
use crate::support::{APP, Answer, Http, ScriptedStack, eventually, run_flow};

/// How long the mailbox is full: much longer than it takes to look.
const FULL: Duration = Duration::from_secs(5);

/// Requests that come in meanwhile, twice, and how many at a time.
const FLOOD: usize = 1_000;
const CONCURRENT: usize = 50;

/// The most by which memory may grow from the first flood to the second.
const GROWN: f64 = 1.02;

/// Fills the mailbox of an actor with work that does not get done for a while.
fn fill(supervisor: &Supervisor, name: &str) -> anyhow::Result<()> {
    let actor = actor(supervisor, name)?;
    ensure!(supervisor.inject(name, Fault::HangFor(FULL), u32::try_from(actor.capacity)?));
    Ok(())
}

fn is_told_to_come_back(answer: &Answer) -> bool {
    answer.status == 503 && answer.retry_after && answer.body["status_code"] == 503
}

#[test]
fn a_full_mailbox_refuses_over_https_and_takes_no_more_memory_until_it_has_room_again() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (_created, instance) = scripted.create().await?;
        let supervisor = &scripted.stack.agent.supervisor;
        let watcher = watcher(&scripted.stack).await?;
        assert_eq!(instance.commands(0, 0).await?["desired"], "running");
        let path = instance.path("");
        let flood = async || {
            for _ in 0..FLOOD / CONCURRENT {
                for answer in join_all((0..CONCURRENT).map(|_| instance.http.get(&path))).await {
                    let answer = answer?;
                    ensure!(is_told_to_come_back(&answer), "{answer:?}");
                }
            }
            anyhow::Ok(())
        };

        let filled = Instant::now();
        fill(supervisor, "sessions")?;
        let answer = instance.http.get(&path).await?;
        assert!(is_told_to_come_back(&answer), "{answer:?}");
        assert!(answer.body["error"].as_str().is_some_and(|why| why.contains("queued")));
        // With the first one come connections, and whatever else is made once.
        flood().await?;
        let (full, before) = (actor(supervisor, "sessions")?, resident()?);
        flood().await?;
        let (later, after) = (actor(supervisor, "sessions")?, resident()?);
        ensure!(filled.elapsed() < FULL, "too slow to tell: {:?}", filled.elapsed());
        assert_eq!((full.depth, later.depth), (full.capacity, full.capacity));
        assert_eq!(later.high_water, full.high_water, "nothing was queued");
        assert!(later.refused - full.refused >= FLOOD as u64);
        assert!(after < before * GROWN, "{before} KiB, then {after} KiB");

        let commands = async || Ok(instance.commands(0, 0).await.ok());
        assert_eq!(eventually("room again", commands).await?["desired"], "running");
        let now = actor(supervisor, "sessions")?;
        assert_eq!(now.high_water, full.high_water);
        let page = watcher.get("/metrics").await?;
        let page = page.body.as_str().unwrap_or_default();
        let counted =
            format!("anbox_stream_agent_actor_refused_total{{actor=\"sessions\"}} {}", now.refused);
        assert!(page.lines().any(|line| line == counted), "{counted} is not in\n{page}");
        Ok(())
    });
}

#[test]
fn a_full_mailbox_refuses_over_nats_with_a_reason_that_the_client_is_told() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        let stack = &scripted.stack;
        let bridge = Bridge::start(stack.nats.bridge(), "test", &Supervisor::default())?;
        let subject = subjects::session(&created.id.parse()?, SessionOp::Ice);
        let ask = async || bridge.ask::<_, ClientIce>(subject.clone(), &Empty {}, FULL).await;
        eventually("asked", async || Ok(ask().await.ok())).await?;
        let gateway =
            Http::new(&stack.nodes.gateway_url(), Some(&stack.token), stack.nodes.gateway_pin()?)?;
        assert_eq!(actor(&stack.agent.supervisor, "sessions")?.refused, 0);

        let filled = Instant::now();
        fill(&stack.agent.supervisor, "sessions")?;
        let refused = ask().await;
        let over_https = instance.http.get(&instance.path("")).await?;
        let client = gateway.create_with_key(APP, "one too many").await?;
        ensure!(filled.elapsed() < FULL, "too slow to tell: {:?}", filled.elapsed());
        let Err(BridgeError::Refused(refusal)) = refused else { panic!("{refused:?}") };
        assert_eq!(refusal.code, RefusalCode::Busy);
        assert!(is_told_to_come_back(&over_https), "{over_https:?}");
        assert!(is_told_to_come_back(&client), "{client:?}");
        assert!(actor(&stack.agent.supervisor, "sessions")?.refused >= 3);
        Ok(())
    });
}

/// What this process has in memory, in KiB.
fn resident() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number.unwrap_or_default().parse()?)
}
