//! One simulation from its beginning to its end.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stream_protocol::subjects::Bucket;
use stream_supervisor::spawn_detached;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::ams::{ERROR, RUNNING, STOPPED};
use crate::chance::Noise;
use crate::client::Clients;
use crate::instance::Program;
use crate::judge::document;
use crate::plan::{EVENTFUL, Plan, Step, What};
use crate::site::Site;
use crate::units::Units;
use crate::world::{Shared, World};

/// How long all may take to come to rest when nothing happens any more.
const REST: Duration = Duration::from_secs(1500);

/// How long signals are read when nothing happens any more. Until then all were.
const LISTEN: Duration = Duration::from_secs(150);

/// How often it is looked whether all has come to rest.
const LOOK: Duration = Duration::from_secs(5);

/// How late a record may go.
const TICK: Duration = Duration::from_millis(500);

/// What came of a simulation.
pub struct Outcome {
    /// Stands for the whole history: equal for equal ones.
    pub sum: u64,
    /// The history, if it was to be kept.
    pub lines: Vec<String>,
    /// What promises were broken, the first first.
    pub violations: Vec<String>,
}

/// Runs the simulation of `seed`. Of the steps of its plan, only those count whose numbers are
/// among `steps`, if any are given. Keeps the history if `verbose`.
pub fn run(seed: u64, steps: Option<&[usize]>, verbose: bool) -> Outcome {
    // First, since keys are drawn when it is made.
    Site::get().prepare();
    fastrand::seed(seed);
    stream_pki::draw_from_seed();
    stream_protocol::draw_from_seed();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    let set = LocalSet::new();
    let world = set.block_on(&runtime, simulate(seed, steps, verbose));
    drop(set);
    let (sum, lines, violations) = world.lock().end().into_parts();
    Outcome { sum, lines, violations }
}

/// Returns the steps that the plan of `seed` has, in words.
pub fn steps(seed: u64) -> Vec<String> {
    Plan::draw(seed).steps.iter().map(Step::to_string).collect()
}

async fn simulate(seed: u64, chosen: Option<&[usize]>, verbose: bool) -> Shared {
    let mut plan = Plan::draw(seed);
    if let Some(chosen) = chosen {
        let steps = plan.steps.iter().enumerate();
        plan.steps = steps.filter(|(at, _)| chosen.contains(at)).map(|(_, step)| *step).collect();
    }
    let world: Shared = Arc::new(Mutex::new(World::new(seed, verbose)));
    {
        let mut world = world.lock();
        world.is_replicated = plan.is_replicated;
        world.store.limit_log(plan.log_room);
    }
    let units = Units::new(&world);
    let (boots, booted) = mpsc::unbounded_channel();
    world.lock().ams.boots = Some(boots);
    spawn_detached("the machines of AMS", machines(world.clone(), units.clone(), booted));
    spawn_detached("the clock of the server", keep_advancing(world.clone()));
    let names = (1..=plan.agents).map(|n| (format!("agent-{n}"), true));
    let names = names.chain((1..=plan.gateways).map(|n| (format!("gateway-{n}"), false)));
    let names: Vec<_> = names.collect();
    names.iter().for_each(|(name, is_agent)| units.keep(name, *is_agent));
    let begin = Instant::now();
    let token = loop {
        sleep(Duration::from_secs(1)).await;
        let made = match units.any_gateway() {
            Some(gateway) => gateway.make_account("anna").await,
            None => None,
        };
        if let Some(token) = made {
            break token;
        }
    };
    world.lock().noise = plan.noise;
    let listen_until = begin + EVENTFUL + LISTEN;
    let clients = Clients { world: world.clone(), units: units.clone(), token, listen_until };
    for step in &plan.steps {
        sleep_until(begin + step.at).await;
        take(step.what, &names, &clients);
    }
    sleep_until(begin + EVENTFUL).await;
    calm(&world);
    rest(&world).await;
    let mut world_now = world.lock();
    world_now.advance();
    let now = world_now.now();
    let World { judge, store, ams, history, .. } = &mut *world_now;
    judge.on_end(now, (&*store, &*ams), history);
    for failure in units.failures() {
        history.violated(now, "no actor panics", format_args!("{failure}"));
    }
    drop(world_now);
    world
}

/// Has records go about when their time has come, also while nobody asks the server.
async fn keep_advancing(world: Shared) {
    loop {
        sleep(TICK).await;
        world.lock().advance();
    }
}

/// Starts the program of each instance that is launched.
async fn machines(world: Shared, units: Units, mut boots: mpsc::UnboundedReceiver<String>) {
    while let Some(instance) = boots.recv().await {
        let (world, units) = (world.clone(), units.clone());
        spawn_detached("an instance", async move {
            if let Some(program) = Program::boot(&world, &units, &instance).await {
                program.run().await;
            }
        });
    }
}

/// Has a step of the plan happen.
fn take(what: What, names: &[(String, bool)], clients: &Clients) {
    let Clients { world, units, .. } = clients;
    let name = |unit: usize| names[unit % names.len()].0.as_str();
    let process = |unit: usize| {
        let agent = units.agent(name(unit)).map(|agent| agent.process);
        agent.or_else(|| units.gateway(name(unit)).map(|gateway| gateway.process))
    };
    world.lock().note(format_args!("STEP {what:?}"));
    match what {
        What::Create(visit) => spawn_detached("a client", clients.clone().create(visit)),
        What::Join(visit) => spawn_detached("a client", clients.clone().join(visit)),
        What::Crash { unit, calls, after, away } => {
            if let Some(process) = process(unit) {
                units.stay_away(name(unit), away);
                world.lock().links[process.id()].dies_at = Some((calls, after));
            }
        }
        What::Pause { unit, time } => {
            if let Some(process) = process(unit) {
                process.pause(time);
            }
        }
        What::CutOff { unit, time } => {
            if let Some(process) = process(unit) {
                world.lock().set_connected(process.id(), false);
                let world = world.clone();
                spawn_detached("the end of a cut", async move {
                    sleep(time).await;
                    world.lock().set_connected(process.id(), true);
                });
            }
        }
        What::RestartServer { time } => restart_server(world, time),
        What::Elect { after } => world.lock().elect(after),
        What::Drain { agent } => {
            let agents = names.iter().filter(|(_, is_agent)| *is_agent).count();
            if let Some(agent) = units.agent(name(agent % agents)) {
                spawn_detached("a drain", async move { agent.drain().await });
            }
        }
        What::MuteAms { time } => {
            let mut world = world.lock();
            world.ams.mute_until = world.now() + time;
        }
        What::Break { instance, fails, again } => {
            break_instance(world, instance, if fails { ERROR } else { STOPPED }, again);
        }
    }
}

fn restart_server(world: &Shared, time: Duration) {
    let count = {
        let mut world = world.lock();
        let (now, at) = (world.now(), world.server_time());
        world.seats.disturb_server(now + time);
        world.note(format_args!("the server starts again"));
        let World { judge, store, .. } = &mut *world;
        judge.forget_presences(store, now);
        store.restart(at + time);
        let count = world.links.len();
        (0..count).for_each(|id| world.set_connected(id, false));
        count
    };
    let world = world.clone();
    spawn_detached("the start of the server", async move {
        sleep(time).await;
        (0..count).for_each(|id| world.lock().set_connected(id, true));
    });
}

fn break_instance(world: &Shared, at: usize, status: i64, again: Option<Duration>) {
    let id = {
        let mut world = world.lock();
        let now = world.now();
        let running: Vec<_> =
            world.ams.instances.values().filter(|one| one.status == RUNNING).collect();
        let Some(one) = running.get(at % running.len().max(1)) else { return };
        let (id, session) = (one.id.clone(), one.session().unwrap_or_default().to_owned());
        world.note(format_args!("{id} of {session} breaks: {status}"));
        world.judge.set_down(&session, true);
        world.ams.set_status(&id, status, now);
        id
    };
    let (Some(again), world) = (again, world.clone()) else { return };
    spawn_detached("a start of an instance", async move {
        sleep(again).await;
        let mut world = world.lock();
        let now = world.now();
        world.ams.set_status(&id, RUNNING, now);
    });
}

/// From here on nothing goes wrong, and no client stays for long.
fn calm(world: &Shared) {
    let mut world = world.lock();
    world.noise = Noise::QUIET;
    world.ams.mute_until = Duration::ZERO;
    let count = world.links.len();
    world.links.iter_mut().for_each(|link| link.dies_at = None);
    (0..count).for_each(|id| world.set_connected(id, true));
    world.note(format_args!("all is quiet"));
}

/// Returns when every session has ended and every instance is gone, or when that takes too long.
async fn rest(world: &Shared) {
    let until = Instant::now() + REST;
    loop {
        sleep(LOOK).await;
        let mut world = world.lock();
        world.advance();
        let has_ended = world
            .store
            .values(Bucket::Sessions)
            .all(|(_, value)| document(value).is_some_and(|one| one.is_over()));
        let is_empty = world.ams.instances.is_empty() && world.clients.is_empty();
        let is_free = world.store.values(Bucket::Clients).next().is_none();
        let has_begun = Instant::now() > until - REST + Duration::from_secs(160);
        if has_ended && is_empty && is_free && has_begun || Instant::now() >= until {
            return;
        }
    }
}
