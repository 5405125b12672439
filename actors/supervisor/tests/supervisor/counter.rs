//! The worker that these tests fail, under each shape.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use actix::{Message, System};
use stream_supervisor::{
    ActorStatus, Context, Handler, Limits, Mailbox, Mode, Policy, Reply, RestartPolicy, Strategy,
    Supervisor, WatchdogConfig, Worker,
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
            Fail::PanicOnTimer => ctx.after(Duration::from_millis(1), Fail::Panic),
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

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    CancelOnRestart,
    KeepInFlight,
    Blocking,
}

pub(crate) const SHAPES: [Shape; 3] =
    [Shape::CancelOnRestart, Shape::KeepInFlight, Shape::Blocking];

impl Shape {
    pub(crate) fn start<W: Worker>(
        self,
        supervisor: &Supervisor,
        name: &'static str,
        restart: RestartPolicy,
        limits: Limits,
        factory: impl Fn() -> W + Send + Sync + 'static,
    ) -> Mailbox<W> {
        match self {
            Self::CancelOnRestart => {
                supervisor.spawn(name, Mode::CancelOnRestart, restart, limits, factory)
            }
            Self::KeepInFlight => {
                supervisor.spawn(name, Mode::KeepInFlight, restart, limits, factory)
            }
            Self::Blocking => supervisor.spawn_blocking(name, restart, limits, factory),
        }
    }

    pub(crate) fn fixture(self, restart: RestartPolicy) -> Fixture {
        let supervisor = Supervisor::default();
        let built = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&built);
        let factory = move || Counter { count: 0, built: Arc::clone(&seen) };
        let counter = self.start(&supervisor, "counter", restart, limits(), factory);
        Fixture { shape: self, supervisor, counter, built }
    }
}

pub(crate) struct Fixture {
    pub(crate) shape: Shape,
    pub(crate) supervisor: Supervisor,
    pub(crate) counter: Mailbox<Counter>,
    pub(crate) built: Arc<AtomicUsize>,
}

pub(crate) fn counter() -> Counter {
    Counter { count: 0, built: Arc::default() }
}

pub(crate) fn limits() -> Limits {
    Limits {
        mailbox_capacity: 64,
        handler_timeout: Duration::from_millis(200),
        start_timeout: Duration::from_millis(500),
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

pub(crate) fn policy(strategy: Strategy, intensity: u32) -> Policy {
    Policy { strategy, intensity, ..Policy::default() }
}

/// A watch that never ends the process of the tests.
pub(crate) fn harmless() -> WatchdogConfig {
    WatchdogConfig { exit: |_| {}, ..WatchdogConfig::default() }
}

/// Runs `test` once for each shape, in an actix system.
pub(crate) fn each_shape(test: impl AsyncFn(Fixture)) {
    for shape in SHAPES {
        System::new().block_on(test(shape.fixture(tireless())));
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
