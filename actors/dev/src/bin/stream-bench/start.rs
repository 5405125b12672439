//! How soon a service serves, what it holds while nothing goes on, and what clients notice of a
//! restart.
//!
//! Both services are processes as systemd runs them: with a listening socket that outlives them,
//! and told when they are ready. NATS and AMS are up, and the keys are there.

mod activated;
mod load;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use stream_dev::in_process::Stack;
use stream_dev::keys::KeyStore;
use tokio::time::sleep;

use self::activated::Activated;
use self::load::{Visits, visit};
use super::idle_sockets::{Counts, Owner, open_all};
use super::process_usage::{proportional, raise_open_files, resident};
use super::report::{Figure, Report, Samples};
use super::unit;

/// Interleaved rounds; the first of all is not counted.
const ROUNDS: usize = 9;

/// How often the memory is looked at, and after what rest.
const MEMORY_ROUNDS: usize = 3;
const REST: Duration = Duration::from_secs(10);

/// Clients with a socket while a service is restarted.
const SOCKETS: usize = 208;

/// What is to be reached.
const READY_MS: f64 = 150.0;
const MEMORY_MIB: f64 = 25.0;
const SLOWEST_MS: f64 = 1_000.0;

const GOAL: &str = "what is to be reached";

/// How long all sockets may take to be open again after a restart.
const BACK_WITHIN: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(50);

/// What was measured of one service.
#[derive(Default)]
struct Measured {
    /// Until it says that it is ready, and until it says so to who asks.
    ready: Samples,
    connected: Samples,
    resident: Samples,
    proportional: Samples,
}

pub(super) async fn run() -> anyhow::Result<Report> {
    raise_open_files()?;
    let stack = Stack::start(unit::options()).await?;
    let keys = KeyStore::shared()?;
    let of_agent = stack.nodes.join("measured-agent", "agent", &keys)?;
    let config = of_agent.write_agent(&stack.config)?;
    let mut agent = Activated::new("stream-agent", &config, &of_agent.dir)?;
    let of_gateway = stack.nodes.join_gateway("measured-gateway", &keys)?;
    let config = of_gateway.write_gateway(&unit::with_default_limits(&stack.config)?)?;
    let mut gateway = Activated::new("stream-gateway", &config, &of_gateway.dir)?;

    let (mut of_agent, mut of_gateway) = (Measured::default(), Measured::default());
    for round in 0..=ROUNDS {
        let mut beside = [(&mut agent, &mut of_agent), (&mut gateway, &mut of_gateway)];
        for (service, measured) in &mut beside {
            let begun = Instant::now();
            service.start().await?;
            let ready = begun.elapsed();
            service.connected().await?;
            if round > 0 {
                measured.ready.push(ready);
                measured.connected.push(begun.elapsed());
            }
        }
        if round <= MEMORY_ROUNDS && round > 0 {
            sleep(REST).await;
            for (service, measured) in &mut beside {
                let pid = service.pid()?;
                measured.resident.push_number(resident(pid)? / 1024.0);
                measured.proportional.push_number(proportional(pid)? / 1024.0);
            }
        }
        for (service, _) in &mut beside {
            service.stop().await?;
        }
    }
    let mut figures = Vec::new();
    let names = [
        ["agent READY", "agent all reached", "agent idle RSS", "agent idle PSS"],
        ["gateway READY", "gateway all reached", "gateway idle RSS", "gateway idle PSS"],
    ];
    for ([ready, connected, rss, pss], of) in names.into_iter().zip([&of_agent, &of_gateway]) {
        let time = |name, samples: &Samples| {
            Figure::lower(name, "ms", samples.median(), (GOAL, READY_MS), 1.0)
        };
        let memory = |name, samples: &Samples| {
            Figure::lower(name, "MiB", samples.median(), (GOAL, MEMORY_MIB), 1.0)
        };
        figures.extend([
            time(ready, &of.ready),
            time(connected, &of.connected),
            memory(rss, &of.resident),
            memory(pss, &of.proportional),
        ]);
    }
    figures.extend(restart_under_load(&stack, &mut gateway).await?);
    gateway.stop().await?;
    stack.stop().await;
    Ok(Report::new(figures))
}

/// Restarts the gateway while clients have sockets and others ask all the time.
async fn restart_under_load(stack: &Stack, gateway: &mut Activated) -> anyhow::Result<Vec<Figure>> {
    gateway.start().await?;
    gateway.connected().await?;
    let port = gateway.port()?;
    let sessions = unit::create(stack, SOCKETS).await?;
    let counts = Rc::<Counts>::default();
    open_all(port, sessions.into_iter().map(|(_, path)| Owner::page(path)), &counts, true).await?;
    let open = counts.open.get();
    eprintln!("{open} sockets are open");
    let over = Cell::new(false);
    let restart = async {
        // Before, while and after.
        sleep(Duration::from_secs(2)).await;
        let begun = Instant::now();
        gateway.stop().await?;
        let stopped = Instant::now();
        gateway.start().await?;
        eprintln!(
            "it was asked to end for {:.1} s, and its follower was ready after {:.0} ms",
            (stopped - begun).as_secs_f64(),
            stopped.elapsed().as_secs_f64() * 1000.0
        );
        while counts.back.get() < open && stopped.elapsed() < BACK_WITHIN {
            sleep(LOOK).await;
        }
        sleep(Duration::from_secs(2)).await;
        over.set(true);
        anyhow::Ok(())
    };
    let (seen, restarted) = tokio::join!(visit(port, &over), restart);
    restarted?;
    let Visits { times, refused, failed } = seen;
    let back = counts.back.get();
    eprintln!("{} requests, {refused} refused, {failed} failed otherwise", times.len());
    eprintln!("{back} of {open} sockets are back, after {} attempts too many", counts.failed.get());
    // Of none there is no share: one more of each.
    let none = |count: u32| f64::from(count) + 1.0;
    Ok(vec![
        Figure::lower("refused, plus 1", "", none(refused), ("none, plus 1", 1.0), 1.0),
        Figure::lower("unanswered, plus 1", "", none(failed), ("none, plus 1", 1.0), 1.0),
        Figure::lower("slowest request", "ms", times.percentile(1.0), (GOAL, SLOWEST_MS), 1.0),
        Figure::lower("p50 of requests", "ms", times.median(), (GOAL, SLOWEST_MS), 1.0),
        Figure::higher("sockets back", "", back as f64, ("all", open as f64), 1.0),
    ])
}
