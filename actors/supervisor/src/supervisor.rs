use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use actix::dev::channel;
use actix::{Addr, Arbiter};
use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::actor_thread::{ActorThread, Placement};
use crate::capacity::Capacity;
use crate::cell::ActorCell;
use crate::failure::Failure;
use crate::failure_tracker::{FailureTracker, ParentLink};
use crate::fault::Fault;
use crate::in_flight::InFlight;
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use crate::panic_hook;
use crate::registry::{Child, Registry};
use crate::request_id::RequestId;
use crate::restart::RestartPolicy;
use crate::runner::Runner;
use crate::status::{ActorStatus, Record};
use crate::tasks::counted;
use crate::tree::Policy;
use crate::watchdog::{Watchdog, WatchdogConfig};
use crate::worker::Worker;

/// What becomes of the futures of other answers when an actor fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// They are cancelled: their askers get [`AskError::Crashed`](crate::AskError::Crashed).
    CancelOnRestart,
    /// They run on, and their askers are answered: they own all they need.
    KeepInFlight,
}

/// Starts actors, restarts those that fail, and reports how they are. Cheap to clone; once the last
/// clone is dropped, escalations are not decided any more.
///
/// A counter that panics is restarted and answers again:
///
/// ```
/// use actix::Message;
/// use stream_supervisor::{
///     AskError, Context, Handler, Limits, Mode, Reply, RestartPolicy, Supervisor, Worker,
/// };
///
/// #[derive(Default)]
/// struct Counter(u32);
///
/// impl Worker for Counter {}
///
/// /// Adds to the count and answers it.
/// #[derive(Message)]
/// #[rtype(result = "u32")]
/// struct Add(u32);
///
/// impl Handler<Add> for Counter {
///     fn handle(&mut self, add: &Add, _: &Context<Self>) -> Reply<u32> {
///         self.0 = self.0.checked_add(add.0).expect("too much");
///         self.0.into()
///     }
/// }
///
/// actix::System::new().block_on(async {
///     let supervisor = Supervisor::default();
///     let (policy, limits) = (RestartPolicy::default(), Limits::default());
///     let counter =
///         supervisor.spawn("counter", Mode::CancelOnRestart, policy, limits, Counter::default);
///     assert_eq!(counter.ask(Add(2)).await, Ok(2));
///     assert_eq!(counter.ask(Add(u32::MAX)).await, Err(AskError::Crashed));
///     assert_eq!(counter.ask(Add(3)).await, Ok(3), "by a fresh counter");
///     assert_eq!(supervisor.status()[0].restarts, 1);
/// });
/// ```
#[derive(Clone)]
pub struct Supervisor {
    registry: Arc<Registry>,
    watchdog: WatchdogConfig,
    placement: Placement,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

impl Supervisor {
    /// Makes a supervisor that deals with escalations by `policy`.
    pub fn new(policy: Policy) -> Self {
        Self::with_watchdog(policy, WatchdogConfig::default())
    }

    /// Makes a supervisor whose watchdog has other limits than the default ones.
    pub fn with_watchdog(policy: Policy, watchdog: WatchdogConfig) -> Self {
        let (registry, placement) = (Registry::new(policy, watchdog.drain), Placement::OwnThreads);
        Self { registry, watchdog, placement }
    }

    /// Makes a supervisor whose actors all run on the thread that starts them, within its
    /// `LocalSet`: with a clock that only tests move, what they do is always the same then. Nobody
    /// watches that thread, and nobody decides escalations: an actor that fails too often stays
    /// suspended. For simulations.
    pub fn on_this_thread() -> Self {
        Self { placement: Placement::ThisThread, ..Self::default() }
    }

    /// Starts an actor on a thread of its own, unless all run [on this
    /// one](Supervisor::on_this_thread). Its state is built by `factory`, now and after every
    /// failure; `policy` says how soon, `mode` what a failure does to other answers in progress.
    ///
    /// Needs a running actix system.
    pub fn spawn<W: Worker>(
        &self,
        name: &'static str,
        mode: Mode,
        policy: RestartPolicy,
        limits: Limits,
        factory: impl Fn() -> W + Send + 'static,
    ) -> Mailbox<W> {
        let record = Arc::new(Record::new(name));
        let capacity = Arc::new(Capacity::new(limits.mailbox_capacity));
        // The bound of this channel is not what bounds the mailbox: see the crate doc.
        let (sender, receiver) = channel::channel(1);
        let mailbox = Mailbox::new(Addr::new(sender), Arc::clone(&capacity), limits.ask_timeout);
        let (commands, received) = mpsc::unbounded_channel();

        self.registry.add(|node| {
            let (own, record_of_cell) = (mailbox.clone(), Arc::clone(&record));
            let counted = Arc::clone(&capacity);
            let (events, hooks) = (self.registry.events.clone(), Arc::clone(&self.registry.hooks));
            let start = move || {
                panic_hook::install_on_this_thread();
                let parent = ParentLink { node, events, hooks };
                let tracker = FailureTracker::new(record_of_cell, policy, parent);
                let in_flight = InFlight::new(limits.max_concurrent);
                let cell = ActorCell::new(
                    Box::new(factory),
                    own,
                    Rc::clone(&tracker),
                    Rc::clone(&in_flight),
                    mode == Mode::KeepInFlight,
                    limits.handler_timeout,
                );
                let context = actix::Context::with_receiver(receiver);
                run(Runner::new(context, cell, in_flight, received, tracker, counted))
            };
            let thread = match self.placement {
                Placement::OwnThreads => {
                    let arbiter = Arbiter::new();
                    arbiter.spawn_fn(move || drop(start()));
                    ActorThread::Own(arbiter)
                }
                Placement::ThisThread => ActorThread::Shared(start()),
            };
            let (injected, stopped) = (mailbox.clone(), mailbox.clone());
            Child {
                record,
                capacity,
                thread: Some(thread),
                commands,
                inject: Box::new(move |fault| injected.tell_unbounded(fault)),
                shut_down: Box::new(move |done| stopped.shut_down(done)),
            }
        });
        if self.placement == Placement::OwnThreads
            && let Some(events) = self.registry.take_events()
        {
            Watchdog::start(self.watchdog, Arc::downgrade(&self.registry), events);
        }
        mailbox
    }

    /// Returns the status of every actor, in the order of their start.
    pub fn status(&self) -> Vec<ActorStatus> {
        self.registry.status()
    }

    /// Ends, with the cause, when the supervisor gives up. The program is then to drain and to exit
    /// with [`EX_SOFTWARE`](crate::EX_SOFTWARE); if it has not after [`WatchdogConfig::drain`], the
    /// supervisor's own thread ends it.
    pub fn fatal(&self) -> impl Future<Output = String> + use<> {
        let mut fatal = self.registry.fatal();
        async move {
            match fatal.wait_for(Option::is_some).await.map(|cause| cause.clone()) {
                Ok(Some(cause)) => cause,
                // Nobody is left to give up.
                _ => std::future::pending().await,
            }
        }
    }

    /// Whether the supervisor's own thread is at work: it finds out which actors are stuck, and
    /// ends the process then. Where it is not, only somebody outside can.
    pub fn is_at_work(&self) -> bool {
        self.registry.since_last_turn() < self.watchdog.heartbeat
    }

    /// Makes the actor called `name` panic; returns whether there is one. For tests of what its
    /// users see.
    pub fn crash(&self, name: &str) -> bool {
        self.inject(name, Fault::Panic, 1)
    }

    /// Makes the actor called `name` fail `times` in a row, as if by messages queued now; returns
    /// whether there is one. For tests of what its users see.
    pub fn inject(&self, name: &str, fault: Fault, times: u32) -> bool {
        self.registry.inject(name, fault, times)
    }

    /// Answers every failure from now on by an immediate restart and escalates none. For tests that
    /// crash an actor more often than a real one should.
    pub fn disable_escalation(&self) {
        self.registry.hooks.always_restart.store(true, Relaxed);
    }

    /// Restarts without backoff from now on; escalations follow as the policies say. For tests of
    /// what happens when an actor fails too often.
    pub fn disable_backoff(&self) {
        self.registry.hooks.no_backoff.store(true, Relaxed);
    }

    /// Stops all actors in order, the last one started first. Each is refused further messages,
    /// deals with what is queued, does what [`Worker::stopping`] returns and finishes its answers
    /// in progress; what it does in the background ends then, before the next one stops. An actor
    /// that is late is cut short: each but the last has half of what is left of `deadline`.
    pub async fn shut_down(&self, deadline: Duration) {
        let until = Instant::now() + deadline;
        let mut nodes = self.registry.running();
        while let Some(node) = nodes.pop() {
            let left = until.saturating_duration_since(Instant::now());
            let share = if nodes.is_empty() { left } else { left / 2 };
            if let Some((actor, finished)) = self.registry.shut_down(node)
                && tokio::time::timeout(share, finished).await.is_err()
            {
                log::warn!(actor:% = actor; "actor {actor} did not finish within {share:?}");
            }
            self.registry.stop(node);
        }
    }

    /// Stops all actors at once, the last one started first.
    pub fn stop(&self) {
        self.registry.running().into_iter().rev().for_each(|node| self.registry.stop(node));
    }
}

/// Runs `work` on this thread until it ends, outside of any actor: a connection, say. A panic in it
/// is logged with `what` and ends nothing else. It works for the same [request](RequestId).
pub fn spawn_detached(what: &'static str, work: impl Future<Output = ()> + 'static) {
    // Each layer around what is not boxed has room for it twice: as what it was given, and as what
    // it waits for.
    let work = Box::pin(AssertUnwindSafe(work).catch_unwind());
    run(RequestId::scope(RequestId::current(), async move {
        if let Err(payload) = work.await {
            log::error!("{what} failed: {}", Failure::panic(&*payload));
        }
    }));
}

#[expect(clippy::disallowed_methods, reason = "what runs here is guarded against panics")]
fn run(work: impl Future<Output = ()> + 'static) -> AbortHandle {
    actix_rt::spawn(counted(work)).abort_handle()
}
