//! Everything that fails at random, while sessions come, talk and go: then it is quiet, and all is
//! as it should be.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::{Method, StatusCode};
use stream_dev::process::Process;
use stream_protocol::Status;
use stream_simulators::ams::{Ams, Boot, Faults};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{ATTEMPT, FIRST_PAUSE, Instance, Population, long};
use crate::support::fleet::{Fleet, Unit};
use crate::support::{APP, Http, eventually, run_flow};

/// Sessions that talk all the time.
const TALKING: usize = 100;

/// From one mishap to the next, in milliseconds.
const PAUSES: std::ops::Range<u64> = 500..4_000;

/// How long a part stands still, in milliseconds.
const STANDSTILLS: std::ops::Range<u64> = 500..6_000;

/// From one session that comes and goes to the next.
const COMING: Duration = Duration::from_millis(300);

/// How long one of them stays, in milliseconds.
const STAYS: std::ops::Range<u64> = 0..4_000;

/// How long after the last mishap all has come to rest.
const REST_WITHIN: Duration = Duration::from_secs(60);

/// Numbers that are the same for the same seed (SplitMix64, public domain, by S. Vigna).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    fn pause(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }
}

/// What happens to a part.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Mishap {
    UnitDies,
    UnitStandsStill,
    UnitDrains,
    NatsDies,
    NatsStandsStill,
    AmsIsSlow,
    AmsFails,
    AmsLosesEvents,
    AmsLosesAnInstance,
}

/// The more often one is here, the more often it happens.
const MISHAPS: [Mishap; 14] = [
    Mishap::UnitDies,
    Mishap::UnitDies,
    Mishap::UnitDies,
    Mishap::UnitStandsStill,
    Mishap::UnitStandsStill,
    Mishap::UnitStandsStill,
    Mishap::UnitDrains,
    Mishap::NatsDies,
    Mishap::NatsStandsStill,
    Mishap::NatsStandsStill,
    Mishap::AmsIsSlow,
    Mishap::AmsFails,
    Mishap::AmsLosesEvents,
    Mishap::AmsLosesAnInstance,
];

/// For how long things go wrong: `STREAM_CHAOS_S` says another time.
fn length() -> anyhow::Result<Duration> {
    let usual = if long() { 600 } else { 60 };
    let said = std::env::var("STREAM_CHAOS_S").ok().map(|text| text.parse()).transpose();
    Ok(Duration::from_secs(said.context("STREAM_CHAOS_S")?.unwrap_or(usual)))
}

/// What happened so far to the sessions that come and go.
#[derive(Default)]
struct Passing {
    created: BTreeSet<String>,
    deleted: BTreeSet<String>,
    refused: usize,
    /// Names of instances that AMS has lost.
    lost: BTreeSet<String>,
}

/// Has mishaps happen until `until`, and puts everything in order again.
async fn go_wrong(
    fleet: &mut Fleet,
    numbers: &mut Numbers,
    passing: &RefCell<Passing>,
    until: Instant,
) -> anyhow::Result<BTreeMap<Mishap, usize>> {
    let mut happened = BTreeMap::new();
    while Instant::now() < until {
        sleep(numbers.pause(PAUSES)).await;
        let mishap = MISHAPS[numbers.within(0..MISHAPS.len() as u64) as usize];
        log::info!("chaos: {mishap:?}");
        *happened.entry(mishap).or_default() += 1;
        let still = numbers.pause(STANDSTILLS);
        let nth = numbers.next() as usize;
        let Fleet { agents, gateways, stack, .. } = &mut *fleet;
        let count = agents.len() + gateways.len();
        let unit = agents.iter_mut().chain(gateways).nth(nth % count).context("a unit")?;
        match mishap {
            Mishap::UnitDies => unit.replace().await?,
            Mishap::UnitStandsStill => stand_still(&unit.process, still).await?,
            Mishap::UnitDrains => drain(unit).await?,
            Mishap::NatsDies => {
                stack.nats.kill();
                sleep(still / 2).await;
                stack.nats.restart()?;
            }
            Mishap::NatsStandsStill => stand_still(stack.nats.process(), still).await?,
            Mishap::AmsIsSlow => {
                let slow = still / 8;
                with_faults(&stack.ams, still, Faults { slow, ..Faults::default() }).await;
            }
            Mishap::AmsFails => {
                let faults =
                    Faults { error_every: 3, busy_every: 5, hang_every: 11, ..Faults::default() };
                with_faults(&stack.ams, still, faults).await;
            }
            Mishap::AmsLosesEvents => {
                let faults =
                    Faults { lost_event_every: 2, doubled_event_every: 3, ..Faults::default() };
                with_faults(&stack.ams, still, faults).await;
            }
            Mishap::AmsLosesAnInstance => {
                // Of those that come and go: those that talk are to come to their end.
                let known = passing.borrow().created.clone();
                let lost = stack.ams.instances().into_iter().find(|instance| {
                    instance.tags.iter().any(|tag| {
                        tag.strip_prefix("session=").is_some_and(|id| known.contains(id))
                    })
                });
                if let Some(instance) = lost {
                    stack.ams.lose(&instance.name);
                    passing.borrow_mut().lost.insert(instance.name);
                }
            }
        }
    }
    Ok(happened)
}

async fn stand_still(process: &Process, time: Duration) -> anyhow::Result<()> {
    process.suspend()?;
    sleep(time).await;
    process.wake()
}

async fn drain(unit: &mut Unit) -> anyhow::Result<()> {
    let operator = stream_admin::Client::new(unit.socket());
    let ordered = operator.drain(Some(Duration::from_secs(5)));
    // One that has not come back yet takes no order.
    if timeout(ATTEMPT, ordered).await.is_ok_and(|ordered| ordered.is_ok()) {
        unit.ends_well().await?;
        unit.restart().await?;
    }
    Ok(())
}

async fn with_faults(ams: &Ams, time: Duration, faults: Faults) {
    ams.set_faults(faults);
    sleep(time).await;
    ams.set_faults(Faults::default());
}

/// Has sessions come and go until `until`; whoever is refused tries no more.
async fn come_and_go(
    http: &Http,
    numbers: &mut Numbers,
    passing: &RefCell<Passing>,
    until: Instant,
) {
    let mut leaving = FuturesUnordered::new();
    let mut nth = 0;
    while Instant::now() < until {
        let (key, stays) = (format!("passing-{nth}"), numbers.pause(STAYS));
        nth += 1;
        leaving.push(async move {
            let created = timeout(ATTEMPT, http.create_with_key(APP, &key)).await;
            let id = match created {
                Ok(Ok(answer)) if answer.status == StatusCode::CREATED => {
                    answer.body["metadata"]["id"].as_str().map(str::to_owned)
                }
                _ => None,
            };
            let Some(id) = id else {
                passing.borrow_mut().refused += 1;
                return;
            };
            passing.borrow_mut().created.insert(id.clone());
            sleep(stays).await;
            let path = format!("/1.0/sessions/{id}");
            let deleted = timeout(ATTEMPT, http.send(Method::DELETE, &path, None)).await;
            if deleted.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status.is_success())) {
                passing.borrow_mut().deleted.insert(id);
            }
        });
        let next = sleep(COMING);
        tokio::pin!(next);
        loop {
            tokio::select! {
                () = &mut next => break,
                Some(()) = leaving.next() => {}
            }
        }
    }
    while leaving.next().await.is_some() {}
}

/// Plays the instances of sessions that come: each says that it runs, and no more.
async fn play(boots: &mut mpsc::UnboundedReceiver<Boot>) {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            boot = boots.recv() => match boot.map(|boot| (Instance::of(&boot), boot)) {
                Some((Ok(instance), boot)) => running.push(async move {
                    let mut stop = boot.stop;
                    tokio::select! {
                        () = instance.report_running() => {}
                        _ = stop.wait_for(|stop| *stop) => {}
                    }
                }),
                // An instance that nobody can play runs nothing.
                Some(_) => {}
                None => return,
            },
            Some(()) = running.next() => {}
        }
    }
}

/// Looks whether everything is as it should be: every session that has not ended has one instance,
/// no other has one, and who was told that a session is deleted finds it so.
async fn in_order(fleet: &Fleet, passing: &Passing) -> anyhow::Result<()> {
    let documents = fleet.documents().await?;
    let mut instances = BTreeMap::<String, Vec<String>>::new();
    for instance in fleet.stack.ams.instances() {
        let session = instance.tags.iter().find_map(|tag| tag.strip_prefix("session="));
        let session = session.context("an instance of nobody")?.to_owned();
        instances.entry(session).or_default().push(instance.name);
    }
    for document in &documents {
        let id = document.id.as_str();
        let own = instances.remove(id).unwrap_or_default();
        let wanted = match document.status {
            Status::Active => 1..=1,
            // One that failed is kept for its logs.
            Status::Error => 0..=1,
            _ if document.status.is_final() => 0..=0,
            other => anyhow::bail!("session {id} is still {other:?}"),
        };
        ensure!(wanted.contains(&own.len()), "{:?} session {id} has {own:?}", document.status);
        let told = passing.deleted.contains(id);
        ensure!(
            !told || document.status.is_final(),
            "{:?} session {id} was deleted",
            document.status
        );
    }
    ensure!(instances.is_empty(), "instances of no session: {instances:?}");
    Ok(())
}

#[test]
fn all_comes_to_rest_after_everything_has_failed_at_random() {
    run_flow(async || {
        let said = std::env::var("STREAM_CHAOS_SEED").ok().map(|text| text.parse()).transpose()?;
        let seed = said.unwrap_or_else(|| u64::from_ne_bytes(*stream_pki::random_bytes()));
        println!("to try the same mishaps again: STREAM_CHAOS_SEED={seed}");
        let length = length()?;
        let mut population = Population::gather(TALKING, 3, 2).await?;
        let (_never, none) = mpsc::unbounded_channel();
        let mut boots = std::mem::replace(&mut population.boots, none);
        let passing = RefCell::default();
        let until = Instant::now() + length;
        let lived = population.live_for(length, async |fleet: &mut Fleet| {
            let http = fleet.http.clone();
            let (mut mishaps, mut comings) = (Numbers(seed), Numbers(!seed));
            let everything = async {
                let gone_wrong = go_wrong(fleet, &mut mishaps, &passing, until);
                let (happened, ()) =
                    tokio::join!(gone_wrong, come_and_go(&http, &mut comings, &passing, until));
                happened
            };
            let happened = tokio::select! {
                happened = everything => happened?,
                () = play(&mut boots) => anyhow::bail!("AMS is gone"),
            };
            // Signals are still under way, and so are the ends of sessions.
            let passed = passing.take();
            let rest = async {
                let resting = timeout(REST_WITHIN, async {
                    while let Err(error) = in_order(fleet, &passed).await {
                        log::info!("not yet: {error:#}");
                        sleep(FIRST_PAUSE * 10).await;
                    }
                });
                match resting.await {
                    Ok(()) => Ok(()),
                    Err(_) => in_order(fleet, &passed).await.context("never at rest"),
                }
            };
            tokio::select! {
                rested = rest => rested?,
                () = play(&mut boots) => anyhow::bail!("AMS is gone"),
            }
            Ok((happened, passed))
        });
        let (happened, passed) =
            lived.await.with_context(|| format!("STREAM_CHAOS_SEED={seed}"))?;
        let Passing { created, deleted, refused, lost } = passed;
        println!(
            "{} sessions came, {refused} were refused, {} were deleted, {} instances were lost: \
             {happened:?}",
            created.len(),
            deleted.len(),
            lost.len()
        );
        let fleet = &mut population.fleet;
        for unit in fleet.agents.iter_mut().chain(&mut fleet.gateways) {
            ensure!(unit.process.ended().is_none(), "{}", unit.process.last_words());
        }
        // All that was away is back, and serves.
        eventually("all present", async || Ok(fleet.all_present().await.ok())).await?;
        fleet.http.create_with_key(APP, "afterwards").await?.success().map(drop)
    });
}
