//! From the client to the instance and back: through gateway, NATS and agent.
//!
//! The floor is what cannot be spared: a message that is published, stored and delivered by NATS
//! each way, and an echo over a TLS WebSocket on either side of it, in the same run and in rounds
//! that alternate with ours.

mod baseline;
mod ours;
mod socket;

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::time::{sleep_until, timeout};

use self::baseline::Baseline;
use self::ours::Ours;
use self::socket::Path;
use super::report::{Figure, Report, Samples};

/// Sessions at the same time: one alone may write no faster than its limit.
const SESSIONS: usize = 100;

/// Round trips begun a second, and how many there are of each rate at least.
const RATES: [(u32, &str, &str); 3] = [
    (20, "p50 at 20/s", "p99 at 20/s"),
    (100, "p50 at 100/s", "p99 at 100/s"),
    (1000, "p50 at 1000/s", "p99 at 1000/s"),
];
const SAMPLES: u32 = 3_000;

/// How long a round of one side is, and how many there are at least: what the machine does besides
/// lasts longer than one.
const ROUND: Duration = Duration::from_secs(1);
const ROUNDS: u32 = 15;

/// Of the floor.
const MEDIAN: f64 = 1.5;
const SLOWEST_MS: f64 = 3.0;

/// What is to be reached, signals a second, both ways counted.
const SIGNALS: f64 = 5_000.0;

/// How often everybody sends as fast as answers come back, and how many round trips each then does.
const BURSTS: usize = 5;
const BURST: usize = 60;

/// Far more than one round trip takes.
const ROUND_TRIP_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn run() -> anyhow::Result<Report> {
    let ours = Ours::start(SESSIONS).await?;
    let baseline = Baseline::start(&ours.stack, SESSIONS).await?;
    let mut figures = Vec::new();
    let (mut ways, mut bare) = (ours.paths, baseline.paths);
    for (rate, p50, p99) in RATES {
        let (mut through, mut least) = (Samples::default(), Samples::default());
        let rounds = SAMPLES.div_ceil(rate).max(ROUNDS);
        for _ in 0..rounds {
            least.append(paced(&mut bare, rate).await?);
            through.append(paced(&mut ways, rate).await?);
        }
        eprintln!("{rate} a second: {rounds} rounds");
        let other = "stored both ways by NATS, and two echoes";
        let at = |samples: &Samples, share| samples.percentile(share);
        figures.push(Figure::lower(p50, "ms", at(&through, 0.5), (other, at(&least, 0.5)), MEDIAN));
        // The goal is so much more than the floor, not so many times the floor.
        let slowest = at(&least, 0.99);
        let goal = (slowest + SLOWEST_MS) / slowest;
        figures.push(Figure::lower(p99, "ms", at(&through, 0.99), (other, slowest), goal));
    }
    let (mut most, mut most_bare) = (Samples::default(), Samples::default());
    for _ in 0..BURSTS {
        most_bare.push_number(burst(&mut bare).await?);
        most.push_number(burst(&mut ways).await?);
    }
    let goal = ("what is to be reached", SIGNALS);
    figures.push(Figure::higher("signals", "1/s", most.median(), goal, 1.0));
    let bare = ("the same without our hops", most_bare.median());
    figures.push(Figure::higher("signals", "1/s", most.median(), bare, 0.5));
    ours.stack.stop().await;
    Ok(Report::new(figures))
}

/// Begins `rate` round trips a second for a round, each on the next path, whatever became of those
/// before.
async fn paced(paths: &mut [Path], rate: u32) -> anyhow::Result<Samples> {
    let (started, each) = (tokio::time::Instant::now(), ROUND / rate);
    let turns = paths.iter_mut().zip(0..).map(async |(path, first)| {
        let mut samples = Samples::default();
        for turn in (first..rate).step_by(SESSIONS) {
            sleep_until(started + each * turn).await;
            samples.push(trip(path).await?);
        }
        anyhow::Ok(samples)
    });
    let mut all = Samples::default();
    try_join_all(turns).await?.into_iter().for_each(|samples| all.append(samples));
    // Everybody has a turn now and then: a socket that nobody reads is cut.
    paths.rotate_left(rate as usize % SESSIONS);
    Ok(all)
}

/// Has everybody do round trips one after the other; returns signals a second.
async fn burst(paths: &mut [Path]) -> anyhow::Result<f64> {
    let started = Instant::now();
    let trips = paths.iter_mut().map(async |path| {
        for _ in 0..BURST {
            trip(path).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(trips).await?;
    Ok((2 * SESSIONS * BURST) as f64 / started.elapsed().as_secs_f64())
}

async fn trip(path: &mut Path) -> anyhow::Result<Duration> {
    let started = Instant::now();
    timeout(ROUND_TRIP_TIMEOUT, path.round_trip()).await??;
    Ok(started.elapsed())
}
