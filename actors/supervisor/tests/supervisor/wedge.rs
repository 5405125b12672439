//! A thread that is stuck, and a program that does not stop.

use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use actix::Message;
use stream_supervisor::{
    ActorState, AskError, Context, EX_SOFTWARE, Handler, Mode, Reply, Supervisor, WatchdogConfig,
    Worker,
};

use crate::counter::{Count, counter, limits, on, policy, tireless};

struct Stuck;

impl Worker for Stuck {}

/// Blocks the thread of an actor that must not, until the test lets it go.
struct Block(Mutex<mpsc::Receiver<()>>);

impl Message for Block {
    type Result = ();
}

impl Handler<Block> for Stuck {
    fn handle(&mut self, block: &Block, _: &Context<Self>) -> Reply<()> {
        // An error means that the test has ended.
        let _ = block.0.lock().expect("not poisoned").recv();
        ().into()
    }
}

#[test]
fn a_stuck_thread_is_named_and_the_program_told_to_stop() {
    on(async {
        let watch = WatchdogConfig {
            heartbeat: Duration::from_millis(400),
            exit: |_| {},
            ..WatchdogConfig::default()
        };
        let supervisor = Supervisor::with_watchdog(policy(1), watch);
        let counter =
            supervisor.spawn("counter", Mode::KeepInFlight, tireless(), limits(), counter);
        let stuck = supervisor.spawn("stuck", Mode::KeepInFlight, tireless(), limits(), || Stuck);
        let (let_go, held) = mpsc::channel();
        stuck.tell(Block(Mutex::new(held))).expect("room");

        let cause = supervisor.fatal().await;
        assert_eq!(cause, "the thread of actor stuck is stuck for 400ms");
        let status = supervisor.status();
        assert_eq!(status[0].state, ActorState::Running);
        assert_eq!(status[1].state, ActorState::Escalated);
        assert_eq!(status[1].last_failure.as_ref().map(|failure| &*failure.cause), Some(&*cause));
        assert_eq!(counter.ask(Count).await, Ok(1), "the others serve on");

        supervisor.shut_down(Duration::from_millis(100)).await;
        drop(let_go);
    });
}

#[test]
fn a_busy_actor_is_not_taken_for_a_stuck_one() {
    on(async {
        let watch = WatchdogConfig {
            heartbeat: Duration::from_secs(1),
            exit: |_| {},
            ..WatchdogConfig::default()
        };
        let supervisor = Supervisor::with_watchdog(policy(1), watch);
        let counter =
            supervisor.spawn("counter", Mode::KeepInFlight, tireless(), limits(), counter);
        let flood = async {
            loop {
                // Busy or not: there is always more.
                let _ = counter.tell(Count);
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::sleep(Duration::from_secs(3));
        tokio::select! {
            cause = supervisor.fatal() => panic!("{cause}"),
            () = flood => {}
            () = waited => {}
        }
        let counted = loop {
            match counter.ask(Count).await {
                // The end of the flood is still queued.
                Err(AskError::Busy) => tokio::task::yield_now().await,
                counted => break counted,
            }
        };
        assert!(counted.is_ok_and(|count| count > 1000));
    });
}

#[test]
fn a_program_that_does_not_stop_in_time_is_ended_with_70() {
    static CODE: AtomicI32 = AtomicI32::new(0);
    on(async {
        let drain = Duration::from_millis(50);
        let exit = |code| CODE.store(code, SeqCst);
        let watch = WatchdogConfig { heartbeat: Duration::from_millis(100), drain, exit };
        let supervisor = Supervisor::with_watchdog(policy(0), watch);
        let counter = supervisor.spawn(
            "counter",
            Mode::KeepInFlight,
            crate::counter::helpless(),
            limits(),
            counter,
        );
        counter.ask(Count).await.expect("running");
        assert_eq!(CODE.load(SeqCst), 0);
        supervisor.crash("counter");
        supervisor.fatal().await;
        while CODE.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!((CODE.load(SeqCst), EX_SOFTWARE), (70, 70));
    });
}
