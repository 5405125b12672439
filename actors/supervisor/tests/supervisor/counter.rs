//! The worker that these tests fail, in each mode.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use actix::{Message, System};
use stream_supervisor::{
    ActorStatus, Context, Handler, Limits, Mailbox, Mode, Policy, Reply, RestartPolicy, Supervisor,
    WatchdogConfig, Worker,
};
use tokio::sync::Notify;

pub(crate) struct Counter {
    count: u32,
    built: Arc<AtomicUsize>,
}

impl Worker for Counter {
    fn started(&mut self, _: &Context<Self>) {
        self.built.fetch_add(1, SeqCst);
    }
}

#[derive(Message)]
#[rtype(result = "u32")]
pub(crate) struct Count;

#[derive(Clone, Copy, Debug, Eq, Message, PartialEq)]
#[rtype(result = "()")]
pub(crate) enum Fail {
    Panic,
    PanicLater,
    PanicInBackground,
    PanicOnTimer,
    Error,
    Hang,
}

/// Answered when the test lets it.
#[derive(Message)]
#[rtype(result = "&'static str")]
pub(crate) struct Wait(pub(crate) Arc<Notify>);

impl Handler<Count> for Counter {
    fn handle(&mut self, _: &Count, _: &Context<Self>) -> Reply<u32> {
        self.count += 1;
        self.count.into()
    }
}

impl Handler<Fail> for Counter {
    fn handle(&mut self, fail: &Fail, ctx: &Context<Self>) -> Reply<()> {
        match fail {
            Fail::Panic => panic!("on purpose"),
            Fail::PanicLater => return Reply::later(async { panic!("on purpose") }),
            Fail::PanicInBackground => ctx.spawn(async { panic!("on purpose") }),
            Fail::PanicOnTimer => ctx.every(Duration::from_millis(50), Fail::Panic),
            Fail::Error => ctx.fail("on purpose"),
            Fail::Hang => return Reply::later(std::future::pending()),
        }
        ().into()
    }
}

impl Handler<Wait> for Counter {
    fn handle(&mut self, wait: &Wait, _: &Context<Self>) -> Reply<&'static str> {
        let permission = Arc::clone(&wait.0);
        Reply::later(async move {
            permission.notified().await;
            "done"
        })
    }
}

pub(crate) const MODES: [Mode; 2] = [Mode::CancelOnRestart, Mode::KeepInFlight];

pub(crate) struct Fixture {
    pub(crate) supervisor: Supervisor,
    pub(crate) counter: Mailbox<Counter>,
    pub(crate) built: Arc<AtomicUsize>,
}

impl Fixture {
    pub(crate) fn new(mode: Mode, policy: RestartPolicy) -> Self {
        let supervisor = Supervisor::default();
        let built = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&built);
        let factory = move || Counter { count: 0, built: Arc::clone(&seen) };
        let counter = supervisor.spawn("counter", mode, policy, limits(), factory);
        Self { supervisor, counter, built }
    }
}

pub(crate) fn counter() -> Counter {
    Counter { count: 0, built: Arc::default() }
}

pub(crate) fn limits() -> Limits {
    Limits {
        mailbox_capacity: 64,
        handler_timeout: Duration::from_millis(200),
        ..Limits::default()
    }
}

/// Restarts at once, however often.
pub(crate) fn tireless() -> RestartPolicy {
    RestartPolicy { max_immediate: u32::MAX, intensity: u32::MAX, ..RestartPolicy::default() }
}

/// Escalates the first failure.
pub(crate) fn helpless() -> RestartPolicy {
    RestartPolicy { intensity: 0, ..RestartPolicy::default() }
}

pub(crate) fn policy(intensity: u32) -> Policy {
    Policy { intensity, ..Policy::default() }
}

/// A watchdog that never ends the process of the tests.
pub(crate) fn harmless() -> WatchdogConfig {
    WatchdogConfig { exit: |_| {}, ..WatchdogConfig::default() }
}

/// Runs `test` once for each mode, in an actix system.
pub(crate) fn each_mode(test: impl AsyncFn(Fixture)) {
    for mode in MODES {
        System::new().block_on(test(Fixture::new(mode, tireless())));
    }
}

pub(crate) fn on(test: impl Future<Output = ()>) {
    System::new().block_on(test);
}

/// Waits until the actor called `name` is as wanted; the runner's time limit bounds it.
pub(crate) async fn until(
    supervisor: &Supervisor,
    name: &str,
    wanted: impl Fn(&ActorStatus) -> bool,
) {
    while !supervisor.status().iter().any(|actor| actor.name == name && wanted(actor)) {
        tokio::task::yield_now().await;
    }
}
