//! What the users of an actor see when it fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use actix::{Message, System};
use stream_supervisor::{
    ActorState, Handler, Limits, Mailbox, Me, Reply, Restart, Supervisor, Unavailable, Worker,
};

struct Counter {
    count: u32,
    built: Arc<AtomicUsize>,
}

impl Worker for Counter {
    fn started(&mut self, _: &Me<Self>) {
        self.built.fetch_add(1, SeqCst);
    }
}

#[derive(Message)]
#[rtype(result = "u32")]
struct Count;

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

#[derive(Message)]
#[rtype(result = "()")]
struct PanicLater;

#[derive(Message)]
#[rtype(result = "()")]
struct PanicInBackground;

#[derive(Message)]
#[rtype(result = "()")]
struct Hang;

/// Answered when the test lets it.
#[derive(Message)]
#[rtype(result = "&'static str")]
struct Wait(Arc<tokio::sync::Notify>);

impl Handler<Count> for Counter {
    fn handle(&mut self, _: &Count, _: &Me<Self>) -> Reply<u32> {
        self.count += 1;
        self.count.into()
    }
}

impl Handler<Panic> for Counter {
    fn handle(&mut self, _: &Panic, _: &Me<Self>) -> Reply<()> {
        panic!("on purpose")
    }
}

impl Handler<PanicLater> for Counter {
    fn handle(&mut self, _: &PanicLater, _: &Me<Self>) -> Reply<()> {
        Reply::later(async { panic!("later") })
    }
}

impl Handler<PanicInBackground> for Counter {
    fn handle(&mut self, _: &PanicInBackground, me: &Me<Self>) -> Reply<()> {
        me.spawn(async { panic!("in the background") });
        ().into()
    }
}

impl Handler<Hang> for Counter {
    fn handle(&mut self, _: &Hang, _: &Me<Self>) -> Reply<()> {
        Reply::later(std::future::pending())
    }
}

impl Handler<Wait> for Counter {
    fn handle(&mut self, wait: &Wait, _: &Me<Self>) -> Reply<&'static str> {
        let permission = Arc::clone(&wait.0);
        Reply::later(async move {
            permission.notified().await;
            "done"
        })
    }
}

struct Fixture {
    supervisor: Supervisor,
    counter: Mailbox<Counter>,
    built: Arc<AtomicUsize>,
}

fn limits() -> Limits {
    Limits { mailbox: 64, handler: Duration::from_millis(200), ..Limits::default() }
}

fn never_pauses() -> Restart {
    Restart { immediate: u32::MAX, ..Restart::default() }
}

fn host(restart: Restart) -> Fixture {
    let supervisor = Supervisor::default();
    let built = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&built);
    let factory = move || Counter { count: 0, built: Arc::clone(&seen) };
    let counter = supervisor.host("counter", restart, limits(), factory);
    Fixture { supervisor, counter, built }
}

fn guard(restart: Restart) -> Fixture {
    let supervisor = Supervisor::default();
    let built = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&built);
    let factory = move || Counter { count: 0, built: Arc::clone(&seen) };
    let counter = supervisor.guard("counter", restart, limits(), factory);
    Fixture { supervisor, counter, built }
}

fn both(test: impl AsyncFn(Fixture)) {
    for shape in [host, guard] {
        System::new().block_on(test(shape(never_pauses())));
    }
}

#[test]
fn a_panic_costs_the_state_and_the_message_in_hand_and_nothing_else() {
    both(async |Fixture { supervisor, counter, built }| {
        assert_eq!(counter.ask(Count).await, Ok(1));
        assert_eq!(counter.ask(Count).await, Ok(2));
        assert_eq!(counter.ask(Panic).await, Err(Unavailable::Crashed));
        assert_eq!(counter.ask(Count).await, Ok(1), "the state is fresh");
        assert_eq!(built.load(SeqCst), 2);

        let status = &supervisor.status()[0];
        assert_eq!((status.state, status.restarts), (ActorState::Running, 1));
        let cause = &status.last_failure.as_ref().expect("it failed").cause;
        assert_eq!(cause, "panic: on purpose");
    });
}

#[test]
fn what_is_queued_behind_a_panic_is_answered() {
    both(async |Fixture { counter, .. }| {
        let panic = counter.ask(Panic);
        let queued = futures_util::future::join_all((0..50).map(|_| counter.ask(Count)));
        let (panic, queued) = futures_util::future::join(panic, queued).await;
        assert_eq!(panic, Err(Unavailable::Crashed));
        let expected: Vec<_> = (1..=50).map(Ok).collect();
        assert_eq!(queued, expected);
    });
}

#[test]
fn a_panic_after_an_await_or_in_the_background_restarts_as_well() {
    both(async |Fixture { counter, supervisor, .. }| {
        counter.ask(Count).await.expect("running");
        assert_eq!(counter.ask(PanicLater).await, Err(Unavailable::Crashed));
        until(&supervisor, |restarts| restarts == 1).await;
        assert_eq!(counter.ask(Count).await, Ok(1));
        counter.ask(PanicInBackground).await.expect("the handler itself is fine");
        until(&supervisor, |restarts| restarts == 2).await;
        assert_eq!(counter.ask(Count).await, Ok(1));
    });
}

#[test]
fn an_answer_past_its_deadline_is_cancelled_and_the_state_rebuilt() {
    both(async |Fixture { counter, supervisor, .. }| {
        counter.ask(Count).await.expect("running");
        assert_eq!(counter.ask(Hang).await, Err(Unavailable::TimedOut));
        until(&supervisor, |restarts| restarts == 1).await;
        assert_eq!(counter.ask(Count).await, Ok(1));
    });
}

#[test]
fn answers_in_progress_outlive_a_panic_of_a_host_and_are_cancelled_by_a_guard() {
    for (shape, expected) in [(host as fn(_) -> _, Ok("done")), (guard, Err(Unavailable::Crashed))]
    {
        System::new().block_on(async {
            let Fixture { counter, .. } = shape(never_pauses());
            let permission = Arc::new(tokio::sync::Notify::new());
            let waiting = counter.ask(Wait(Arc::clone(&permission)));
            let disturb = async {
                assert_eq!(counter.ask(Panic).await, Err(Unavailable::Crashed));
                permission.notify_one();
            };
            let (waited, ()) = futures_util::future::join(waiting, disturb).await;
            assert_eq!(waited, expected);
        });
    }
}

#[test]
fn a_full_mailbox_refuses_at_once_and_serves_again_when_there_is_room() {
    both(async |Fixture { counter, supervisor, .. }| {
        let permission = Arc::new(tokio::sync::Notify::new());
        let mut waiting = Vec::new();
        for _ in 0..64 {
            waiting.push(Box::pin(counter.ask(Wait(Arc::clone(&permission)))));
        }
        // A future does nothing before it is polled: let each take its permit.
        for ask in &mut waiting {
            assert!(futures_util::poll!(ask).is_pending());
        }
        assert_eq!(counter.ask(Count).await, Err(Unavailable::Busy));
        assert_eq!(counter.clone().tell(Count), Err(Unavailable::Busy), "also on a fresh clone");
        let status = &supervisor.status()[0];
        assert_eq!((status.depth, status.high_water, status.refused), (64, 64, 2));

        drop(waiting);
        permission.notify_waiters();
        while supervisor.status()[0].depth > 0 {
            permission.notify_waiters();
            tokio::task::yield_now().await;
        }
        assert_eq!(counter.ask(Count).await, Ok(1));
    });
}

#[test]
fn a_paused_actor_keeps_its_queue() {
    for shape in [host as fn(_) -> _, guard] {
        System::new().block_on(async {
            let first_pause = Duration::from_millis(50);
            let restart = Restart { immediate: 0, first_pause, ..Restart::default() };
            let Fixture { counter, built, .. } = shape(restart);
            assert_eq!(counter.ask(Panic).await, Err(Unavailable::Crashed));
            assert_eq!(counter.ask(Count).await, Ok(1), "answered after the pause");
            assert_eq!(built.load(SeqCst), 2);
        });
    }
}

#[test]
fn a_factory_that_panics_is_tried_again() {
    System::new().block_on(async {
        let tries = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&tries);
        let factory = move || {
            if seen.fetch_add(1, SeqCst) == 1 {
                panic!("no luck");
            }
            Counter { count: 0, built: Arc::default() }
        };
        let supervisor = Supervisor::default();
        let counter = supervisor.host("counter", never_pauses(), limits(), factory);
        assert_eq!(counter.ask(Panic).await, Err(Unavailable::Crashed));
        assert_eq!(counter.ask(Count).await, Ok(1));
        assert_eq!(tries.load(SeqCst), 3);
    });
}

#[test]
fn a_crash_on_request_is_a_panic_like_any_other() {
    both(async |Fixture { counter, supervisor, .. }| {
        assert!(supervisor.crash("counter"));
        assert!(!supervisor.crash("nobody"));
        until(&supervisor, |restarts| restarts == 1).await;
        assert_eq!(counter.ask(Count).await, Ok(1));
    });
}

#[test]
fn a_stopped_actor_says_so() {
    both(async |Fixture { counter, supervisor, .. }| {
        counter.ask(Count).await.expect("running");
        supervisor.stop();
        loop {
            match counter.ask(Count).await {
                Err(Unavailable::Stopped | Unavailable::Crashed) => break,
                Ok(_) => tokio::task::yield_now().await,
                Err(other) => panic!("unexpected {other}"),
            }
        }
    });
}

/// Waits until the number of restarts is as wanted; the test's own time limit bounds it.
async fn until(supervisor: &Supervisor, wanted: impl Fn(u64) -> bool) {
    while !wanted(supervisor.status()[0].restarts) {
        tokio::task::yield_now().await;
    }
}
