//! What a store full of sessions costs those who ask for a few, and what those cost that wait.
//!
//! Two stacks side by side in this process, each with its own NATS: one has 100 sessions, the other
//! 20,000, and both have 50 agents, of which one is real and launches. The goals say that a request
//! does not grow with the store. Questions to NATS are counted by its server, which counts
//! messages that come in: an answer is none, a subscription is none.

mod readers;

use std::time::{Duration, Instant};

use anyhow::Context;
use stream_bridge::IncrementalReader;
use stream_dev::ams::APPLICATION;
use tokio::time::sleep;

use super::process_usage::kib;
use super::report::{Figure, Report, Samples};
use super::stored::Stored;

/// Sessions in the two stores, as many that live as have ended.
const FEW: usize = 100;
const MANY: usize = 20_000;

const ROUNDS: usize = 5;

/// Requests of each kind in a round of one side, one after the other.
const REQUESTS: usize = 40;

/// What is listed of a store: one page of whole sessions.
const PAGE: &str = "/1.0/sessions?recursion=true&limit=50";

/// Of the same with few sessions.
const TIMES: f64 = 2.0;

/// The least growth of memory that is told from chance, in MiB.
const MEMORY_FLOOR: f64 = 4.0;

/// Of one agent among 50 that does nothing, both ways, in KB/s.
const AGENT_REST: f64 = 50.0;

/// How long the traffic of an agent is counted: longer than the pause between two of its sweeps.
const REST: Duration = Duration::from_secs(40);

/// What one side needs for each kind of request.
#[derive(Default)]
struct Side {
    pages: Samples,
    scrapes: Samples,
    creations: Samples,
    /// The most that the process held beyond what it had, in MiB.
    memory: Samples,
    /// What NATS sent for a page and a scrape, with all that units do beside them, in KB.
    read: Samples,
}

pub(super) async fn run() -> anyhow::Result<Report> {
    let few = Stored::start(FEW).await?;
    let many = Stored::start(MANY).await?;
    eprintln!("{} and {} sessions are stored", FEW, MANY);
    let rest = rest(&many).await?;
    let (mut small, mut large) = (Side::default(), Side::default());
    // The first round opens the connections.
    for round in 0..=ROUNDS {
        if round == 1 {
            (small, large) = Default::default();
        }
        measure(&few, &mut small).await?;
        measure(&many, &mut large).await?;
        eprintln!("round {round} of {ROUNDS}");
    }
    few.stop().await;
    many.stop().await;
    let questions = readers::questions().await?;
    let few = "with 100 sessions";
    let memory = small.memory.median().max(MEMORY_FLOOR);
    let goal = "what is to be reached";
    Ok(Report::new(vec![
        Figure::time("page of 20,000", &large.pages, (few, &small.pages), TIMES),
        Figure::time("scrape", &large.scrapes, (few, &small.scrapes), TIMES),
        Figure::time("creation", &large.creations, (few, &small.creations), TIMES),
        Figure::lower(
            "memory of a round",
            "MiB",
            large.memory.median(),
            ("with 100 sessions, 4 at least", memory),
            TIMES,
        ),
        Figure::lower(
            "read for both",
            "KB",
            large.read.median(),
            (few, small.read.median()),
            TIMES,
        ),
        Figure::lower("10,000 readers", "1/s", questions, (goal, readers::QUESTIONS), 1.0),
        Figure::lower("agent at rest", "KB/s", rest, (goal, AGENT_REST), 1.0),
    ]))
}

async fn measure(stored: &Stored, side: &mut Side) -> anyhow::Result<()> {
    let (before, sent) = (memory("VmRSS:")?, stored.sent_bytes()?);
    // From here on the most that the process holds is counted anew (`proc(5)`).
    std::fs::write("/proc/self/clear_refs", "5")?;
    for _ in 0..REQUESTS {
        let asked = Instant::now();
        let page = stored.get(PAGE).await?;
        side.pages.push(asked.elapsed());
        anyhow::ensure!(page.contains("\"metadata\""), "no page: {page}");
        let asked = Instant::now();
        let text = stored.get("/metrics").await?;
        side.scrapes.push(asked.elapsed());
        anyhow::ensure!(text.contains("_sessions_total{"), "a scrape without the store: {text}");
    }
    side.memory.push_number(memory("VmHWM:")? - before);
    let read = stored.sent_bytes()?.saturating_sub(sent) as f64 / 1000.0;
    side.read.push_number(read / REQUESTS as f64);
    let mut created = Vec::new();
    for _ in 0..REQUESTS {
        let asked = Instant::now();
        created.push(stored.client.create(APPLICATION, Default::default()).await?.id);
        side.creations.push(asked.elapsed());
    }
    for id in created {
        stored.client.delete(&id).await?;
    }
    Ok(())
}

/// What an agent sends and gets while nobody asks anything, in KB/s.
async fn rest(stored: &Stored) -> anyhow::Result<f64> {
    // What was stored last is read by then.
    sleep(IncrementalReader::INTERVAL * 2).await;
    let (before, begun) = (stored.agent_bytes()?, Instant::now());
    sleep(REST).await;
    let bytes = stored.agent_bytes()?.checked_sub(before).context("the agent connected anew")?;
    Ok(bytes as f64 / 1000.0 / begun.elapsed().as_secs_f64())
}

/// What this process holds, in MiB: a line of `proc(5)`'s status.
fn memory(name: &str) -> anyhow::Result<f64> {
    Ok(kib("/proc/self/status", name)? / 1024.0)
}
