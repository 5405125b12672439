//! What somebody else's storm of connections costs a neighbour, and how soon a gateway has its
//! clients back after it was killed, and an agent its instances.
//!
//! Either is a process on a core of its own, with the limits of addresses as they are by
//! default; nginx with the same key before a static answer is the yardstick. Attackers have
//! addresses of their own. The neighbour does a full handshake for each request.

mod instances;
mod neighbour;
mod silent;
mod stuck;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::{interval, sleep};

use self::neighbour::Visits;
use super::idle_sockets::{Counts, Owner, open_all};
use super::nginx::Nginx;
use super::process_usage::{leave_server_core, raise_open_files, resident};
use super::report::{Figure, Report};
use super::unit::Unit;

/// Connects a second that say nothing.
const SILENT: [u32; 2] = [100, 1_000];

/// Clients that have sockets when the gateway is killed.
const SOCKETS: usize = 4_992;

/// Of what the neighbour waits while nothing else goes on.
const SLOWEST: f64 = 2.0;

/// Within which all are back, how many of them by a ticket, and the memory that their service then
/// has, of what it had.
const BACK_MS: f64 = 30_000.0;
const RESUMED: f64 = 0.9;
const MEMORY: f64 = 1.15;

/// Longer than what follows the opening of a socket, and less than the pause between two tokens.
const SETTLED: Duration = Duration::from_secs(3);

/// After which a client counts as lost for good.
const GIVEN_UP: Duration = Duration::from_secs(70);

const LOOK: Duration = Duration::from_millis(50);

/// What a neighbour of one server has seen.
struct Seen {
    quiet: Visits,
    silent: [Visits; 2],
    stuck: Visits,
}

pub(super) async fn run() -> anyhow::Result<Report> {
    leave_server_core()?;
    raise_open_files()?;
    let mut unit = Unit::start(Default::default()).await?;
    let dir = tempfile::tempdir()?;
    let nginx = Nginx::start(&dir.path().join("nginx"), &unit.pair)?;
    let other = beside_storms(nginx.port).await?;
    drop(nginx);
    eprintln!("nginx is measured");
    let ours = beside_storms(unit.port).await?;
    eprintln!("ours is measured");
    let mut figures = Vec::new();
    let names = ["p99, 100 silent/s", "p99, 1000 silent/s", "p99, 8000 stuck"];
    let nginx = ["the same of nginx, 100/s", "the same of nginx, 1000/s", "the same of nginx"];
    let all = |seen: &Seen| {
        let [few, many] = &seen.silent;
        [few.p99(), many.p99(), seen.stuck.p99()]
    };
    let (own, others) = (all(&ours), all(&other));
    let (quiet, quiet_nginx) = (ours.quiet.p99(), other.quiet.p99());
    for n in 0..names.len() {
        figures.push(Figure::lower(names[n], "ms", own[n], ("quiet", quiet), SLOWEST));
        figures.push(Figure::lower(names[n], "ms", own[n], (nginx[n], others[n]), SLOWEST));
    }
    figures.push(Figure::lower("p99, quiet", "ms", quiet, ("nginx", quiet_nginx), SLOWEST));
    let [few, many] = &ours.silent;
    let answered = [few, many, &ours.stuck].map(Visits::answered);
    let least = answered.into_iter().fold(1.0, f64::min) * 100.0;
    figures.push(Figure::higher("answered", "%", least, ("all", 100.0), 1.0));
    figures.extend(after_kill(&mut unit).await?);
    drop(unit);
    figures.extend(instances::after_kill().await?);
    Ok(Report::new(figures))
}

async fn beside_storms(port: u16) -> anyhow::Result<Seen> {
    // The first ones open what a server opens once.
    neighbour::visit(port, &Cell::new(false)).await?;
    let quiet = neighbour::visit(port, &Cell::new(false)).await?;
    let mut silent = Vec::new();
    for rate in SILENT {
        let over = Cell::new(false);
        let storm = silent::storm(port, rate, &over);
        let (seen, held) = tokio::join!(neighbour::visit(port, &over), storm);
        let (seen, held) = (seen?, held?);
        let p99 = seen.p99();
        eprintln!("{rate} silent a second: p99 {p99:.1} ms, {held} were open at the end");
        silent.push(seen);
    }
    let stuck = stuck::hold(port).await?;
    eprintln!("quiet p99 {:.1} ms, beside the stuck {:.1} ms", quiet.p99(), stuck.p99());
    let silent = silent.try_into().map_err(|_| anyhow::anyhow!("two storms"))?;
    Ok(Seen { quiet, silent, stuck })
}

/// Kills the gateway of many pages.
async fn after_kill(unit: &mut Unit) -> anyhow::Result<[Figure; 3]> {
    // What the storms have left in its memory is not that of its sockets.
    unit.restart()?;
    unit.ready().await?;
    let sessions = unit.create(SOCKETS).await?;
    let counts = Rc::<Counts>::default();
    let pages = sessions.into_iter().map(|(_, path)| Owner::page(path));
    open_all(unit.port, pages, &counts, true).await?;
    let seen = kill(&counts, unit, |unit| unit.process.pid(), Unit::restart).await?;
    Ok(seen.figures(["all back", "resumed", "memory after"]))
}

/// What was seen after a service was killed.
struct Return {
    took_ms: f64,
    /// In percent.
    resumed: f64,
    /// Before and after, in MiB.
    memory: (f64, f64),
}

/// Kills a service with open sockets, and returns once all are open again or given up.
async fn kill<S>(
    counts: &Counts,
    service: &mut S,
    pid: impl Fn(&S) -> u32,
    restart: impl Fn(&mut S) -> anyhow::Result<()>,
) -> anyhow::Result<Return> {
    sleep(SETTLED).await;
    let (before, open) = (resident(pid(service))? / 1024.0, counts.open.get());
    eprintln!("{open} sockets are open");
    let killed = Instant::now();
    restart(service)?;
    let mut looks = interval(LOOK);
    while counts.back.get() < open && killed.elapsed() < GIVEN_UP {
        looks.tick().await;
    }
    let back = counts.back.get();
    let (resumed, failed) = (counts.resumed.get(), counts.failed.get());
    eprintln!("{back} are back, {resumed} of them resumed; {failed} attempts failed before");
    let last = counts.last.get().filter(|_| back >= open);
    let took_ms = last.map_or(f64::INFINITY, |last| (last - killed).as_secs_f64() * 1000.0);
    sleep(SETTLED).await;
    let after = resident(pid(service))? / 1024.0;
    let resumed = resumed as f64 / open as f64 * 100.0;
    Ok(Return { took_ms, resumed, memory: (before, after) })
}

impl Return {
    fn figures(&self, [back, resumed, memory]: [&'static str; 3]) -> [Figure; 3] {
        let (before, after) = self.memory;
        [
            Figure::lower(back, "ms", self.took_ms, ("what is to be reached", BACK_MS), 1.0),
            Figure::higher(resumed, "%", self.resumed, ("all", 100.0), RESUMED),
            Figure::lower(memory, "MiB", after, ("before", before), MEMORY),
        ]
    }
}
