//! Carries a load out: one run, or one for each rate that is tried.

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use futures_util::future::join_all;
use stream_protocol::Timestamp;
use stream_simulators::client::Gateway;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep, sleep_until};

use super::options::Options;
use super::outcome::{Outcome, Run, Search};
use super::record::Record;
use super::scrape::{self, Holding, Verdict};
use super::search::RateSearch;
use super::session::Clients;
use super::{html, progress, table};

const PROGRESS: Duration = Duration::from_secs(1);
const QUIET_POLL: Duration = Duration::from_secs(1);

/// Carries out what `options` say, writes the report, and prints a table. Fails when the gateway
/// cannot be asked, when something failed, and when something was left behind.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let gateway = Gateway::new(&options.client())?;
    let application = application(&gateway, options.application.clone()).await?;
    fs::create_dir_all(&options.out)
        .with_context(|| format!("directory {}", options.out.display()))?;
    let (stop, stopped) = watch::channel(false);
    let begun_at = Timestamp::from(SystemTime::now());
    let before = scrape::holding(&gateway, Duration::ZERO).await;
    let loaded = load(&options, &application, stopped);
    let (runs, search) = unless_interrupted(loaded, &stop).await?;
    let during: Vec<_> = runs.iter().flat_map(|run| run.held.iter().copied()).collect();
    let left = quiet(&gateway, &options, &before, &during).await;
    let command = options.command();
    let outcome = Outcome { command, begun_at, options, application, runs, left, search };
    print!("{}", table::table(&outcome));
    write(&outcome)?;
    let failed: u32 = outcome.shown().map_or(0, |run| run.counts.failed);
    ensure!(failed == 0, "{failed} sessions failed");
    let left: Vec<_> = outcome.left.iter().filter(|held| held.left).map(|held| held.what).collect();
    ensure!(left.is_empty(), "the gateway holds more than before: {}", left.join(", "));
    Ok(())
}

async fn application(gateway: &Gateway, named: Option<String>) -> anyhow::Result<String> {
    let known = gateway.applications().await.context("the gateway does not answer")?;
    match named {
        Some(name) => {
            ensure!(known.contains(&name), "the gateway has {}, not {name}", known.join(", "));
            Ok(name)
        }
        None => known.into_iter().next().context("the gateway has no application"),
    }
}

/// Has the sessions of `work` end with the first SIGINT or SIGTERM, and gives up with the second.
async fn unless_interrupted<T>(
    work: impl Future<Output = anyhow::Result<T>>,
    stop: &watch::Sender<bool>,
) -> anyhow::Result<T> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        ensure!(!stop.send_replace(true), "given up: sessions may be left behind");
        eprintln!("\nends the sessions that there are; once more gives up");
    }
}

async fn load(
    options: &Options,
    application: &str,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<(Vec<Run>, Option<Search>)> {
    let mut runs = vec![at_rate(options, application, options.rate, &stopped).await?];
    if !options.find_rate {
        return Ok((runs, None));
    }
    let (mut search, mut last) = (RateSearch::default(), options.rate);
    while let Some(rate) = search.next(last, runs[runs.len() - 1].holds(options.bound))
        && !*stopped.borrow()
    {
        eprintln!("trying {rate:.2}/s");
        runs.push(at_rate(options, application, rate, &stopped).await?);
        last = rate;
    }
    let tried = runs.iter().map(|run| run.rate).collect();
    let search = Search { bound_ms: options.bound, largest_rate: search.largest(), tried };
    Ok((runs, Some(search)))
}

/// Begins sessions at `rate` a second, whatever became of those before, and returns when all are
/// over.
async fn at_rate(
    options: &Options,
    application: &str,
    rate: f64,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<Run> {
    let clients = Rc::new(Clients {
        options: options.clone(),
        gateway: Gateway::new(&options.client())?,
        application: application.to_owned(),
        record: Record::begin(),
        stopped: stopped.clone(),
    });
    let (begun, total) = (Instant::now(), options.sessions);
    let sessions = join_all((0..total).map(|nth| {
        let (clients, mut stopped) = (Rc::clone(&clients), stopped.clone());
        async move {
            let at = begun + Duration::from_secs_f64(f64::from(nth) / rate);
            tokio::select! {
                () = sleep_until(at) => clients.drive(nth).await,
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
        }
    }));
    let held = RefCell::new(Vec::new());
    // Beside the sessions: none of them waits for what the gateway tells of itself.
    let observed = async {
        let mut ticks = interval(PROGRESS);
        loop {
            ticks.tick().await;
            progress::show(&clients.record, total);
            let now = scrape::holding(&clients.gateway, clients.record.elapsed()).await;
            held.borrow_mut().push(now);
        }
    };
    tokio::select! {
        _ = sessions => {}
        () = observed => {}
    }
    progress::show(&clients.record, total);
    progress::end();
    Ok(Run::of(rate, &clients.record, held.into_inner()))
}

/// Waits until the gateway holds no more than before, as long as the options say.
async fn quiet(
    gateway: &Gateway,
    options: &Options,
    before: &Holding,
    during: &[Holding],
) -> Vec<Verdict> {
    let until = Instant::now() + Duration::from_secs(options.quiet.into());
    loop {
        let after = scrape::holding(gateway, Duration::ZERO).await;
        let verdicts = scrape::verdicts(before, during, &after);
        if !verdicts.iter().any(|held| held.left) || Instant::now() >= until {
            return verdicts;
        }
        sleep(QUIET_POLL).await;
    }
}

fn write(outcome: &Outcome) -> anyhow::Result<()> {
    let folder = &outcome.options.out;
    for (name, text) in [
        ("load.json", serde_json::to_string_pretty(outcome)?),
        ("report.html", html::page(outcome)),
    ] {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("file {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
