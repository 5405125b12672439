//! Every actor fails at random for a while; then all is as before. In a process of its own, whose
//! size is measured.

use std::fs;
use std::time::{Duration, Instant};

use actix::{Message, System};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use stream_supervisor::{
    ActorState, AskError, Context, Fault, Handler, Limits, Mailbox, Mode, Policy, Reply,
    RestartPolicy, Supervisor, Worker,
};

/// Answers with what it is asked.
struct Echo;

impl Worker for Echo {}

/// Asks for an answer at once, or after an await.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "u32")]
enum Ask {
    Now(u32),
    Later(u32),
}

impl Handler<Ask> for Echo {
    fn handle(&mut self, ask: &Ask, _: &Context<Self>) -> Reply<u32> {
        match *ask {
            Ask::Now(number) => number.into(),
            Ask::Later(number) => Reply::later(async move {
                tokio::task::yield_now().await;
                number
            }),
        }
    }
}

/// Asks how many tasks there are where the worker lives.
#[derive(Message)]
#[rtype(result = "usize")]
struct Tasks;

impl Handler<Tasks> for Echo {
    fn handle(&mut self, _: &Tasks, _: &Context<Self>) -> Reply<usize> {
        tokio::runtime::Handle::current().metrics().num_alive_tasks().into()
    }
}

const NAMES: [&str; 4] = ["one", "two", "three", "four"];

/// How soon all must be well again.
const HEALTHY: Duration = Duration::from_secs(5);

/// The most that may be left over by one of so many storms: a leak grows with each, the disorder
/// of an allocator does not.
const LEFT_OVER: f64 = 1.05;
const STORMS: usize = 4;

#[test]
fn after_a_storm_all_is_as_before() {
    let long = std::env::var_os("STREAM_TEST_LONG").is_some_and(|long| long == "1");
    let storm = Duration::from_secs(if long { 60 } else { 5 });
    // Thousands of backtraces would be most of what is measured.
    let test = std::thread::current().id();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == test {
            eprintln!("{info}");
        }
    }));
    System::new().block_on(async {
        let supervisor = Supervisor::new(Policy { intensity: u32::MAX, ..Policy::default() });
        let actors = start(&supervisor);
        // What is allocated once is allocated by a first, shorter storm.
        rage(&supervisor, &actors, storm / 3).await;
        calm(&supervisor, &actors).await;
        let mut before = Footprint::now(&actors).await;

        let mut settled = false;
        for _ in 0..STORMS {
            let failed = rage(&supervisor, &actors, storm).await;
            calm(&supervisor, &actors).await;
            let after = Footprint::now(&actors).await;
            println!("{failed} failures: {before:?}, {after:?}");
            assert!(failed > 100);
            assert!(after.threads <= before.threads && after.tasks <= before.tasks);
            settled = after.pages <= before.pages * LEFT_OVER;
            if settled {
                break;
            }
            before = after;
        }
        assert!(settled, "more is left over by each storm");
        for actor in supervisor.status() {
            assert_eq!((actor.state, actor.depth), (ActorState::Running, 0), "{}", actor.name);
        }
    });
}

/// Two actors of each mode, which any failure rebuilds at once or escalates.
fn start(supervisor: &Supervisor) -> Vec<Mailbox<Echo>> {
    let restart =
        RestartPolicy { max_immediate: u32::MAX, intensity: 100, ..RestartPolicy::default() };
    let limits = Limits { handler_timeout: Duration::from_millis(200), ..Limits::default() };
    let modes = [Mode::CancelOnRestart, Mode::KeepInFlight].into_iter().cycle();
    let actors = NAMES.into_iter().zip(modes);
    actors.map(|(name, mode)| supervisor.spawn(name, mode, restart, limits, || Echo)).collect()
}

/// Fails the actors at random while they are asked; returns how often they failed.
async fn rage(supervisor: &Supervisor, actors: &[Mailbox<Echo>], storm: Duration) -> u64 {
    let restarts = || supervisor.status().iter().map(|actor| actor.restarts).sum::<u64>();
    let (started, before) = (Instant::now(), restarts());
    let mut random = TestRunner::deterministic();
    let fault =
        prop_oneof![8 => Just(Fault::Panic), 2 => Just(Fault::Error), 1 => Just(Fault::Hang)];
    let ask = prop_oneof![any::<u32>().prop_map(Ask::Now), any::<u32>().prop_map(Ask::Later)];
    while started.elapsed() < storm {
        let draw = (0..NAMES.len(), fault.clone(), 1..4u32, ask.clone()).new_tree(&mut random);
        let (victim, fault, times, ask) = draw.expect("a draw").current();
        assert!(supervisor.inject(NAMES[victim], fault, times));
        let (Ask::Now(number) | Ask::Later(number)) = ask;
        for actor in actors {
            match actor.ask(ask).await {
                Ok(answer) => assert_eq!(answer, number),
                Err(AskError::Crashed | AskError::TimedOut) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }
    restarts() - before
}

async fn calm(supervisor: &Supervisor, actors: &[Mailbox<Echo>]) {
    let healthy = async {
        for actor in actors {
            while actor.ask(Ask::Now(1)).await.is_err() {}
        }
        let busy =
            |supervisor: &Supervisor| supervisor.status().iter().any(|actor| actor.depth > 0);
        while busy(supervisor) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HEALTHY, healthy).await.expect("healthy soon after the storm");
}

/// What the process takes up.
#[derive(Debug)]
struct Footprint {
    /// Resident, of the kernel's size.
    pages: f64,
    threads: usize,
    /// On the threads of the workers.
    tasks: usize,
}

impl Footprint {
    async fn now(actors: &[Mailbox<Echo>]) -> Self {
        let statm = fs::read_to_string("/proc/self/statm").expect("a Linux system");
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        let threads = fs::read_dir("/proc/self/task").expect("a Linux system").count();
        let mut tasks = 0;
        for actor in actors {
            tasks += actor.ask(Tasks).await.expect("it is calm");
        }
        Self { pages: pages.expect("a number"), threads, tasks }
    }
}
