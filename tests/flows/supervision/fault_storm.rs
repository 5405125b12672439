//! Every actor of both programs fails at random for a while; then all is as before.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use stream_dev::in_process::Stack;
use stream_supervisor::{ActorState, Fault, live_tasks};

use super::load::{Tally, actors, live, stack, under_load};
use crate::support::{Http, STEP_TIMEOUT, run_flow};

/// How soon all must be well again.
const HEALTHY: Duration = Duration::from_secs(5);

/// The most that may be left over.
const LEFT_OVER: f64 = 1.05;

/// How long a server that was replaced may take to go, and idle threads with it.
const SETTLED: Duration = Duration::from_secs(12);

/// Between two failures.
const GUST: Duration = Duration::from_millis(10);

fn length() -> Duration {
    let long = std::env::var_os("STREAM_TEST_LONG").is_some();
    Duration::from_secs(if long { 60 } else { 5 })
}

/// The most by which memory may have grown. Short storms do not fill what allocators keep for each
/// thread.
fn grown() -> f64 {
    if std::env::var_os("STREAM_TEST_LONG").is_some() { LEFT_OVER } else { 1.15 }
}

#[test]
fn after_a_storm_both_programs_are_healthy_and_as_small_as_before() {
    run_flow(async || {
        let stack = stack().await?;
        for supervisor in [&stack.agent.supervisor, &stack.gateway.supervisor] {
            supervisor.disable_escalation();
        }
        // What is allocated once is allocated by the first ones.
        for name in ["first", "second", "third"] {
            rage(&stack, name).await?;
            calm(&stack, name).await?;
        }
        let before = Footprint::settled().await?;
        let failed = rage(&stack, "fourth").await?;
        calm(&stack, "fourth").await?;
        let after = Footprint::settled().await?;
        println!("{failed} failures: {before:?}, {after:?}");
        ensure!(after.tasks <= before.tasks * LEFT_OVER, "tasks: {before:?}, {after:?}");
        ensure!(after.threads <= before.threads, "threads: {before:?}, {after:?}");
        ensure!(after.pages <= before.pages * grown(), "memory: {before:?}, {after:?}");
        Ok(())
    });
}

/// Fails actors of both programs at random under a load of whole sessions; returns how often.
async fn rage(stack: &Stack, name: &str) -> anyhow::Result<u64> {
    let restarts = || actors(stack).iter().map(|(_, actor)| actor.restarts).sum::<u64>();
    let (before, victims) = (restarts(), actors(stack));
    let fault = prop_oneof![
        Just(Fault::Panic),
        Just(Fault::Error),
        Just(Fault::HangFor(Duration::from_millis(50)))
    ];
    let blow = (0..victims.len(), fault);
    let tally = under_load(stack, name, async |_| {
        let (started, mut random) = (Instant::now(), TestRunner::deterministic());
        while started.elapsed() < length() {
            let drawn = blow.new_tree(&mut random);
            let (victim, fault) = drawn.map_err(anyhow::Error::msg)?.current();
            let (program, actor) = &victims[victim];
            let supervisor = match *program {
                "agent" => &stack.agent.supervisor,
                _ => &stack.gateway.supervisor,
            };
            ensure!(supervisor.inject(actor.name, fault, 1), "there is no actor {}", actor.name);
            tokio::time::sleep(GUST).await;
        }
        Ok(())
    });
    let tally = tally.await?;
    let failed = restarts() - before;
    println!("{failed} failures: {tally:?}");
    ensure!(failed > 100, "hardly a storm: {failed} failures");
    ensure!(tally.sessions() > 0, "no session was completed");
    Ok(failed)
}

/// Waits for both programs to be well: the agent ready, a session possible, all actors at work.
async fn calm(stack: &Stack, name: &str) -> anyhow::Result<()> {
    let nodes = &stack.nodes;
    let gateway = Http::new(&nodes.gateway_url(), Some(&stack.token), nodes.gateway_pin()?)?;
    let agent = Http::new(&nodes.agent_url(), None, nodes.agent_pin()?)?;
    let healthy = async {
        while let answer = agent.get("/1.0/health/ready").await?
            && answer.status != 200
        {
            log::info!("the agent is not ready yet: {answer:?}");
        }
        let tally = Tally::default();
        live(&gateway, &format!("after-{name}"), &tally).await?;
        ensure!(tally.errors() == 0, "it is not well yet");
        let (actors, running) = (actors(stack), ActorState::Running);
        let ill = actors.iter().find(|(_, actor)| actor.state != running);
        ensure!(ill.is_none(), "{ill:?}");
        Ok(())
    };
    tokio::time::timeout(HEALTHY, healthy).await.context("not well in time")??;
    stack.ams.wait_until(|instances| instances.is_empty(), STEP_TIMEOUT).await?;
    Ok(())
}

/// What this process takes up, both programs and their clients included.
#[derive(Debug)]
struct Footprint {
    /// Resident, of the kernel's size.
    pages: f64,
    threads: usize,
    /// Of all actors: their own, their background work, and what outlives their restarts.
    tasks: f64,
}

impl Footprint {
    /// The smallest until all that was replaced has gone.
    async fn settled() -> anyhow::Result<Self> {
        let mut smallest = Self::now()?;
        let started = Instant::now();
        while started.elapsed() < SETTLED {
            tokio::time::sleep(SETTLED / 32).await;
            let now = Self::now()?;
            smallest.pages = smallest.pages.min(now.pages);
            smallest.threads = smallest.threads.min(now.threads);
            smallest.tasks = smallest.tasks.min(now.tasks);
        }
        Ok(smallest)
    }

    fn now() -> anyhow::Result<Self> {
        let statm = std::fs::read_to_string("/proc/self/statm")?;
        let pages = statm.split(' ').nth(1).context("a size")?.parse()?;
        let threads = std::fs::read_dir("/proc/self/task")?.count();
        Ok(Self { pages, threads, tasks: live_tasks() as f64 })
    }
}
