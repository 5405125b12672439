//! How many sessions a second come into being through every hop, and what a lone one costs beside
//! others that attach.
//!
//! All of it runs on this machine: the clients, the gateway, NATS, the agent and the AMS simulator,
//! in one process but for NATS. The floor of a creation is the launch that AMS is asked for in it,
//! over connections of the same kind.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::try_join_all;
use serde_json::json;
use stream_dev::ams::APPLICATION;
use stream_dev::in_process::{Options, Stack};
use stream_pki::{Identity, Trust, client_config};
use stream_simulators::ams::{Launcher, idle_instances, simulated_instances};
use stream_simulators::client::Gateway;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};
use toml::toml;

use super::process_usage::kib;
use super::report::{Figure, Report, Samples};

const ROUNDS: usize = 5;

/// Clients that create at the same time, each over its own connection.
const CLIENTS: usize = 16;

/// Creations of one client in a round.
const CREATIONS: usize = 50;

/// What is to be reached, a second, and within which time for all but one in a hundred.
const RATE: f64 = 500.0;
const SLOWEST: f64 = 50.0;

/// Of the rate of launches alone: around each are two writes, a claim among them, a request over
/// NATS and a token.
const LAUNCHES: f64 = 0.1;

/// What is kept of sessions that have ended is their document for an hour, and in NATS: nothing
/// here grows with them but the AMS simulator's operations.
const MEMORY: f64 = 1.2;

/// The steady load: a session each so often, which attaches, and how many.
const STEADILY: Duration = Duration::from_millis(50);
const STEADY: usize = 300;

/// Far more than anything here takes.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);
const STATUS_POLL: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Side {
    rate: Samples,
    times: Samples,
    /// What this process holds after each round, in MiB.
    memory: Vec<f64>,
}

pub(super) async fn run() -> anyhow::Result<Report> {
    let (ours, launches) = burst().await?;
    let (steady, active) = steadily().await?;
    let launched = ("launches asked of AMS alone", launches.rate.median());
    let slowest = ("what is to be reached", SLOWEST);
    let percentile = |samples: &Samples, at| samples.percentile(at);
    let after = |round: Option<&f64>| round.copied().unwrap_or(f64::NAN);
    let (first, last) = (after(ours.memory.first()), after(ours.memory.last()));
    Ok(Report::new(vec![
        Figure::higher(
            "creations",
            "1/s",
            ours.rate.median(),
            ("what is to be reached", RATE),
            1.0,
        ),
        Figure::higher("creations", "1/s", ours.rate.median(), launched, LAUNCHES),
        Figure::lower("creation p50", "ms", percentile(&ours.times, 0.5), slowest, 1.0),
        Figure::lower("creation p99", "ms", percentile(&ours.times, 0.99), slowest, 1.0),
        Figure::lower("memory after 4,000", "MiB", last, ("after 800", first), MEMORY),
        Figure::lower("at 20/s p50", "ms", percentile(&steady, 0.5), slowest, 1.0),
        Figure::lower("at 20/s p99", "ms", percentile(&steady, 0.99), slowest, 1.0),
        Figure::lower(
            "active at 20/s p99",
            "ms",
            percentile(&active, 0.99),
            ("a second", 1000.0),
            1.0,
        ),
    ]))
}

/// Creations as fast as they go, of sessions whose instances boot at once and never attach; beside
/// them launches.
async fn burst() -> anyhow::Result<(Side, Side)> {
    let stack = Stack::start(options(idle_instances())).await?;
    let gateways = (0..CLIENTS).map(|_| stack.client()).collect::<anyhow::Result<Vec<_>>>()?;
    let ams = (0..CLIENTS).map(|_| Ams::of(&stack)).collect::<anyhow::Result<Vec<_>>>()?;
    let (mut ours, mut launches) = (Side::default(), Side::default());
    // The first round opens the connections.
    for round in 0..=ROUNDS {
        if round == 1 {
            (ours, launches) = Default::default();
        }
        let started = Instant::now();
        let created = try_join_all(gateways.iter().map(create)).await?;
        let rate = (CLIENTS * CREATIONS) as f64 / started.elapsed().as_secs_f64();
        ours.rate.push_number(rate);
        let mut ids = Vec::new();
        for (times, created) in created {
            ours.times.append(times);
            ids.extend(created);
        }
        delete(&gateways, ids).await?;
        stack.ams.wait_until(|instances| instances.is_empty(), STEP_TIMEOUT).await?;
        ours.memory.push(memory()?);

        let started = Instant::now();
        try_join_all(ams.iter().enumerate().map(|(n, ams)| ams.launch(round, n))).await?;
        let rate = (CLIENTS * CREATIONS) as f64 / started.elapsed().as_secs_f64();
        launches.rate.push_number(rate);
        try_join_all(ams.iter().enumerate().map(|(n, ams)| ams.delete(round, n))).await?;
        eprintln!("round {round} of {ROUNDS}");
    }
    stack.stop().await;
    Ok((ours, launches))
}

fn options(launcher: Launcher) -> Options {
    // No session waits for a place.
    Options { launcher, agent: toml! { agent.capacity = 10_000 }, ..Options::default() }
}

/// What this process holds in memory, in MiB (`proc(5)`).
fn memory() -> anyhow::Result<f64> {
    Ok(kib("/proc/self/status", "VmRSS:")? / 1024.0)
}

async fn create(gateway: &Gateway) -> anyhow::Result<(Samples, Vec<String>)> {
    let (mut times, mut ids) = (Samples::default(), Vec::with_capacity(CREATIONS));
    for _ in 0..CREATIONS {
        let asked = Instant::now();
        ids.push(gateway.create(APPLICATION, Default::default()).await?.id);
        times.push(asked.elapsed());
    }
    Ok((times, ids))
}

async fn delete(gateways: &[Gateway], ids: Vec<String>) -> anyhow::Result<()> {
    let share = ids.len().div_ceil(gateways.len());
    let shares = gateways.iter().zip(ids.chunks(share));
    try_join_all(shares.map(async |(gateway, ids)| {
        for id in ids {
            gateway.delete(id).await?;
        }
        anyhow::Ok(())
    }))
    .await?;
    Ok(())
}

/// How long a creation takes, and how long until its session is active, while twenty a second are
/// asked for whatever became of those before.
async fn steadily() -> anyhow::Result<(Samples, Samples)> {
    let stack = Stack::start(options(simulated_instances())).await?;
    let (done, mut finished) = mpsc::unbounded_channel();
    let mut tick = interval(STEADILY);
    let gateway = std::sync::Arc::new(stack.client()?);
    for _ in 0..STEADY {
        tick.tick().await;
        let (gateway, done) = (gateway.clone(), done.clone());
        stream_supervisor::spawn_detached("a session of the bench", async move {
            // Nobody listens any more once the bench has failed.
            let _ = done.send(timeout(STEP_TIMEOUT, attach(&gateway)).await);
        });
    }
    let (mut created, mut active) = (Samples::default(), Samples::default());
    for _ in 0..STEADY {
        let session = finished.recv().await.context("a session was given up")?;
        let (creation, activation) = session.context("a session takes too long")??;
        created.push(creation);
        active.push(activation);
    }
    stack.stop().await;
    Ok((created, active))
}

async fn attach(gateway: &Gateway) -> anyhow::Result<(Duration, Duration)> {
    let asked = Instant::now();
    let id = gateway.create(APPLICATION, Default::default()).await?.id;
    let creation = asked.elapsed();
    loop {
        match gateway.get(&id).await?.status.as_str() {
            "active" => break,
            "created" => tokio::time::sleep(STATUS_POLL).await,
            other => anyhow::bail!("a session is {other}"),
        }
    }
    let active = asked.elapsed();
    gateway.delete(&id).await?;
    Ok((creation, active))
}

/// AMS asked directly, as the agent does.
struct Ams {
    client: reqwest::Client,
    url: String,
}

impl Ams {
    fn of(stack: &Stack) -> anyhow::Result<Self> {
        let dir = stack.nodes.agent_dir();
        let identity = Identity::load(dir.join("ams-client.crt"), dir.join("ams-client.key"))?;
        let trust = Trust::Pins(vec![stack.ams.fingerprint()]);
        let tls = client_config(&trust, Some(&identity))?;
        let client =
            reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?;
        Ok(Self { client, url: stack.nodes.ams_url() })
    }

    async fn launch(&self, round: usize, client: usize) -> anyhow::Result<()> {
        for n in 0..CREATIONS {
            let body = json!({ "name": name(round, client, n), "app_id": APPLICATION });
            let url = format!("{}/1.0/instances?no_wait=true", self.url);
            let answer = self.client.post(url).json(&body).send().await?;
            answer.error_for_status()?.bytes().await?;
        }
        Ok(())
    }

    async fn delete(&self, round: usize, client: usize) -> anyhow::Result<()> {
        for n in 0..CREATIONS {
            let url = format!("{}/1.0/instances/{}", self.url, name(round, client, n));
            let body = json!({ "force": true });
            self.client.delete(url).json(&body).send().await?.error_for_status()?.bytes().await?;
        }
        Ok(())
    }
}

fn name(round: usize, client: usize, n: usize) -> String {
    format!("bench-{round}-{client}-{n}")
}
