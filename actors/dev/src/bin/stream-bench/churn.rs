//! What is left in the services of sessions that have come and gone.
//!
//! Gateway, agent, NATS and the AMS simulator are processes of their own. Sessions are created and
//! deleted for as long as it takes, and the metrics of the gateway are read all the while; each
//! round of them is held against the first one that is counted. What is kept of a session that has
//! ended is its document, in NATS and for an hour.

use std::cell::Cell;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::try_join_all;
use stream_dev::ams::APPLICATION;
use stream_dev::processes::{Options, Services};
use stream_dev::workdir::Workdir;
use stream_simulators::client::Gateway;
use tokio::time::{sleep, timeout};

use super::process_usage::resident;
use super::report::{Figure, Report, Samples};

/// Sessions in all, where no other number is given.
const SESSIONS: usize = 20_000;

/// The first one opens what stays open, and fills what is kept of the last sessions.
const ROUNDS: usize = 11;

/// Clients that create and delete at the same time.
const CLIENTS: usize = 16;

/// What may have been added, or taken longer, at the end.
const GROWTH: f64 = 1.05;

/// How often the metrics are read.
const SCRAPE: Duration = Duration::from_secs(1);

/// How long the last sessions of a round may take to be gone, and what they do afterwards.
const GONE_WITHIN: Duration = Duration::from_secs(60);
const SETTLED: Duration = Duration::from_secs(5);

const LOOK: Duration = Duration::from_millis(100);

/// What a service holds.
#[derive(Clone, Copy)]
struct Holding {
    mib: f64,
    descriptors: f64,
    threads: f64,
}

/// How things are after a round.
struct Round {
    agent: Holding,
    gateway: Holding,
    subscriptions: f64,
    creations: Samples,
    deletions: Samples,
}

pub(super) async fn run(arguments: &[String]) -> anyhow::Result<Report> {
    let sessions = match arguments.first() {
        Some(number) => number.parse().context("how many sessions?")?,
        None => SESSIONS,
    };
    let workdir = Workdir::new(None)?;
    let mut services = Services::start(workdir.dir(), &workdir.keys, &Options::default()).await?;
    let measured = rounds(&mut services, sessions.div_ceil(ROUNDS * CLIENTS)).await;
    drop(services);
    let rounds = workdir.end(measured)?;
    let (Some(first), Some(last)) = (rounds.get(1), rounds.last()) else {
        anyhow::bail!("there was no round");
    };
    let figure = |name, unit, of: &dyn Fn(&Round) -> f64| {
        Figure::lower(name, unit, of(last), ("after the first round", of(first)), GROWTH)
    };
    Ok(Report::new(vec![
        figure("agent memory", "MiB", &|round| round.agent.mib),
        figure("agent descriptors", "", &|round| round.agent.descriptors),
        figure("agent threads", "", &|round| round.agent.threads),
        figure("gateway memory", "MiB", &|round| round.gateway.mib),
        figure("gateway descriptors", "", &|round| round.gateway.descriptors),
        figure("gateway threads", "", &|round| round.gateway.threads),
        figure("NATS subscriptions", "", &|round| round.subscriptions),
        figure("creation p50", "ms", &|round| round.creations.median()),
        figure("deletion p50", "ms", &|round| round.deletions.median()),
    ]))
}

async fn rounds(services: &mut Services, of_each: usize) -> anyhow::Result<Vec<Round>> {
    let clients = (0..CLIENTS).map(|_| services.client()).collect::<anyhow::Result<Vec<_>>>()?;
    let mut rounds = Vec::with_capacity(ROUNDS);
    for number in 0..ROUNDS {
        let (begun, is_over) = (Instant::now(), Cell::new(false));
        let come_and_go = async {
            let done = try_join_all(clients.iter().map(|client| come_and_go(client, of_each)));
            let done = done.await;
            is_over.set(true);
            done
        };
        let (done, scraped) = tokio::join!(come_and_go, scrape(&clients[0], &is_over));
        scraped?;
        let (mut creations, mut deletions) = (Samples::default(), Samples::default());
        for (created, deleted) in done? {
            creations.append(created);
            deletions.append(deleted);
        }
        let took = begun.elapsed().as_secs_f64();
        timeout(GONE_WITHIN, all_gone(&clients[0])).await.context("sessions are left")??;
        sleep(SETTLED).await;
        let (agent, gateway) = (hold(services, "agent")?, hold(services, "gateway")?);
        let nats = services.nats().context("there is no NATS")?.statistics("varz")?;
        let subscriptions = nats["subscriptions"].as_f64().context("subscriptions")?;
        eprintln!(
            "round {number} of {}: {:.0} sessions a second; agent {:.1} MiB, gateway {:.1} MiB",
            ROUNDS - 1,
            creations.len() as f64 / took,
            agent.mib,
            gateway.mib,
        );
        rounds.push(Round { agent, gateway, subscriptions, creations, deletions });
    }
    Ok(rounds)
}

/// Creates sessions and deletes each at once, one after the other.
async fn come_and_go(client: &Gateway, count: usize) -> anyhow::Result<(Samples, Samples)> {
    let (mut creations, mut deletions) = (Samples::default(), Samples::default());
    for _ in 0..count {
        let asked = Instant::now();
        let session = client.create(APPLICATION, Default::default()).await?;
        creations.push(asked.elapsed());
        let asked = Instant::now();
        client.delete(&session.id).await?;
        deletions.push(asked.elapsed());
    }
    Ok((creations, deletions))
}

/// Reads the metrics again and again, as Prometheus does.
async fn scrape(client: &Gateway, is_over: &Cell<bool>) -> anyhow::Result<()> {
    while !is_over.get() {
        anyhow::ensure!(!client.metrics().await?.is_empty(), "there are no metrics");
        sleep(SCRAPE).await;
    }
    Ok(())
}

async fn all_gone(client: &Gateway) -> anyhow::Result<()> {
    while !client.list().await?.is_empty() {
        sleep(LOOK).await;
    }
    Ok(())
}

fn hold(services: &mut Services, name: &str) -> anyhow::Result<Holding> {
    let part = services.parts().into_iter().find(|part| part.name.ends_with(name));
    let pid = part.with_context(|| format!("{name} does not run"))?.pid;
    let count = |what| -> anyhow::Result<_> {
        Ok(fs::read_dir(format!("/proc/{pid}/{what}"))?.count() as f64)
    };
    Ok(Holding { mib: resident(pid)? / 1024.0, descriptors: count("fd")?, threads: count("task")? })
}
