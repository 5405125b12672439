//! Failing too often: the parent restarts, then the program is told to stop.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::Message;
use futures_util::future::join_all;
use futures_util::{FutureExt, poll};
use stream_supervisor::{
    ActorState, AskError, Context, Fault, Handler, Mailbox, Mode, Reply, RestartPolicy, Supervisor,
    Worker,
};

use crate::counter::{harmless, helpless, limits, on, policy, tireless, until};

/// Notes when it is built and dropped.
struct Noted {
    name: &'static str,
    log: Log,
    panics_when_dropped: bool,
}

type Log = Arc<Mutex<Vec<String>>>;

impl Drop for Noted {
    fn drop(&mut self) {
        note(&self.log, "-", self.name);
        if self.panics_when_dropped {
            panic!("and once more");
        }
    }
}

impl Worker for Noted {
    fn started(&mut self, _: &Context<Self>) {
        note(&self.log, "+", self.name);
    }
}

fn note(log: &Log, what: &str, name: &str) {
    log.lock().expect("not poisoned").push(format!("{what}{name}"));
}

/// Answers the number it carries.
#[derive(Message)]
#[rtype(result = "u32")]
struct Echo(u32);

impl Handler<Echo> for Noted {
    fn handle(&mut self, echo: &Echo, _: &Context<Self>) -> Reply<u32> {
        echo.0.into()
    }
}

fn start(
    supervisor: &Supervisor,
    name: &'static str,
    restart: RestartPolicy,
    log: &Log,
) -> Mailbox<Noted> {
    let log = Arc::clone(log);
    supervisor.spawn(name, Mode::KeepInFlight, restart, limits(), move || Noted {
        name,
        log: Arc::clone(&log),
        panics_when_dropped: false,
    })
}

/// Starts three actors, the one in the middle helpless, and waits until they run.
async fn three(supervisor: &Supervisor, log: &Log) -> [Mailbox<Noted>; 3] {
    let first = start(supervisor, "first", tireless(), log);
    let second = start(supervisor, "second", helpless(), log);
    let third = start(supervisor, "third", tireless(), log);
    let actors = [first, second, third];
    assert_eq!(join_all(actors.iter().map(|actor| actor.ask(Echo(1)))).await, [Ok(1); 3]);
    log.lock().expect("not poisoned").clear();
    actors
}

fn restarts(supervisor: &Supervisor) -> Vec<u64> {
    supervisor.status().iter().map(|actor| actor.restarts).collect()
}

#[test]
fn those_started_after_a_failed_actor_are_restarted_too_in_order_and_keep_their_mailboxes() {
    on(async {
        let log = Log::default();
        let supervisor = Supervisor::with_watchdog(policy(5), harmless());
        let [first, second, third] = three(&supervisor, &log).await;
        supervisor.inject("second", Fault::Panic, 1);
        let queued = join_all((0..50).map(|n| second.ask(Echo(n)))).await;
        assert_eq!(queued, (0..50).map(Ok).collect::<Vec<_>>());
        until(&supervisor, "third", |actor| actor.restarts == 1).await;
        let asked = join_all([&first, &second, &third].map(|actor| actor.ask(Echo(2))));
        assert_eq!(asked.await, [Ok(2); 3]);
        let mut noted = log.lock().expect("not poisoned").clone();
        // The one that failed ends on its own thread, before or after the other is told to.
        noted[..2].sort();
        assert_eq!(noted, ["-second", "-third", "+second", "+third"]);
        assert_eq!(restarts(&supervisor), [0, 1, 1]);
    });
}

#[test]
fn an_escalated_actor_is_parked_with_its_mailbox_until_somebody_decides() {
    on(async {
        let log = Log::default();
        let supervisor = Supervisor::with_watchdog(policy(0), harmless());
        let [first, second, _] = three(&supervisor, &log).await;
        let mut fatal = Box::pin(supervisor.fatal());
        assert!(poll!(&mut fatal).is_pending());
        supervisor.inject("second", Fault::Panic, 1);
        assert!(fatal.await.contains("crashed on request"), "the cause is told");

        let mut waiting = second.ask(Echo(1)).boxed_local();
        assert!(poll!(&mut waiting).is_pending());
        let status = &supervisor.status()[1];
        assert_eq!((status.state, status.depth), (ActorState::Escalated, 1));
        assert_eq!(first.ask(Echo(3)).await, Ok(3), "the others serve on");
        assert!(supervisor.fatal().await.contains("crashed on request"), "it stays so");
        supervisor.shut_down(Duration::from_millis(50)).await;
        assert_eq!(waiting.await, Err(AskError::Stopped));
    });
}

#[test]
fn panics_while_an_escalation_is_handled_change_nothing_about_it() {
    on(async {
        let log = Log::default();
        let supervisor = Supervisor::with_watchdog(policy(5), harmless());
        let second = start(&supervisor, "second", helpless(), &log);
        let built = Arc::new(Mutex::new(0));
        let (noted, times) = (Arc::clone(&log), Arc::clone(&built));
        let third =
            supervisor.spawn("third", Mode::CancelOnRestart, tireless(), limits(), move || {
                let time = {
                    let mut times = times.lock().expect("not poisoned");
                    *times += 1;
                    *times
                };
                assert_ne!(time, 2, "no luck");
                Noted { name: "third", log: Arc::clone(&noted), panics_when_dropped: time == 1 }
            });
        assert_eq!(third.ask(Echo(1)).await, Ok(1));
        supervisor.inject("second", Fault::Panic, 1);
        until(&supervisor, "third", |actor| actor.restarts == 2).await;
        assert_eq!(second.ask(Echo(2)).await, Ok(2));
        assert_eq!(third.ask(Echo(3)).await, Ok(3));
        assert_eq!(*built.lock().expect("not poisoned"), 3);
    });
}

#[test]
fn a_supervisor_that_never_tires_escalates_nothing() {
    on(async {
        let log = Log::default();
        let supervisor = Supervisor::with_watchdog(policy(0), harmless());
        supervisor.disable_escalation();
        let [_, second, _] = three(&supervisor, &log).await;
        supervisor.inject("second", Fault::Panic, 60);
        assert_eq!(second.ask(Echo(1)).await, Ok(1));
        assert_eq!(restarts(&supervisor), [0, 60, 0]);
    });
}
