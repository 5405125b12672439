use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use actix::dev::channel;
use actix::{Addr, Arbiter, Context};
use futures_util::FutureExt;
use tokio::sync::mpsc;

use crate::capacity::Capacity;
use crate::cell::{ActorCell, Placement};
use crate::failure::Failure;
use crate::failure_tracker::{FailureTracker, ParentLink};
use crate::fault::Fault;
use crate::in_flight::InFlight;
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use crate::panic_hook;
use crate::registry::{Child, Registry};
use crate::restart::RestartPolicy;
use crate::runner::Runner;
use crate::status::{ActorStatus, Record};
use crate::tasks::counted;
use crate::tree::{Node, Policy, Tree};
use crate::watchdog::WatchdogConfig;
use crate::worker::Worker;

/// What becomes of the other answers in progress when an actor fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// They are cancelled: their askers get [`AskError::Crashed`](crate::AskError::Crashed).
    CancelOnRestart,
    /// They run on, for they own what they need.
    KeepInFlight,
}

/// Starts actors, rebuilds what fails, and tells how they are. Cheap to clone; when the last clone
/// is gone, nobody decides about escalations any more.
#[derive(Clone)]
pub struct Supervisor {
    registry: Arc<Registry>,
    group: Node,
    /// The names from the root to this group, joined by `/`.
    path: Arc<str>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

impl Supervisor {
    /// Makes the root of a tree.
    pub fn new(policy: Policy) -> Self {
        Self::with_watchdog(policy, WatchdogConfig::default())
    }

    /// Makes the root of a tree whose own thread is as patient as `watchdog` says.
    pub fn with_watchdog(policy: Policy, watchdog: WatchdogConfig) -> Self {
        Self { registry: Registry::new(policy, watchdog), group: Tree::ROOT, path: "".into() }
    }

    /// Makes a group under this one, itself a supervisor: it deals with its own actors by `policy`,
    /// and escalates as they do.
    pub fn group(&self, name: &str, policy: Policy) -> Self {
        let group = self.registry.add_group(self.group, policy);
        let path = match &*self.path {
            "" => name.into(),
            above => format!("{above}/{name}").into(),
        };
        Self { registry: Arc::clone(&self.registry), group, path }
    }

    /// Starts an actor; `mode` says what a failure does to its other answers in progress. Needs a
    /// running actix system.
    pub fn spawn<W: Worker>(
        &self,
        name: &'static str,
        mode: Mode,
        restart: RestartPolicy,
        limits: Limits,
        factory: impl Fn() -> W + Send + 'static,
    ) -> Mailbox<W> {
        let keeps_in_flight = mode == Mode::KeepInFlight;
        self.start(name, restart, limits, move |_| Placement::local(factory, keeps_in_flight))
    }

    /// Starts an actor whose handlers may block: the worker has a thread of its own and deals with
    /// one message at a time. A handler past [`Limits::handler_timeout`] cannot be cancelled: its
    /// thread is left behind and a new one takes over, so what it still does happens late, perhaps
    /// beside what the next worker does. Only for work that may be done twice. Needs a running
    /// actix system.
    pub fn spawn_blocking<W: Worker>(
        &self,
        name: &'static str,
        restart: RestartPolicy,
        limits: Limits,
        factory: impl Fn() -> W + Send + Sync + 'static,
    ) -> Mailbox<W> {
        self.start(name, restart, limits, move |record| {
            Placement::dedicated(factory, record.abandoned.clone())
        })
    }

    /// Returns how every actor here and in the groups below is, in the order they were started.
    pub fn status(&self) -> Vec<ActorStatus> {
        self.registry.status(self.group)
    }

    /// Ends, with the cause, when the supervisor can do no more: the program is then to stop in
    /// order and to exit with [`EX_SOFTWARE`](crate::EX_SOFTWARE). If it has not after
    /// [`WatchdogConfig::drain`], the supervisor's own thread ends it.
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

    /// Makes the actor called `name` (or `group/name`) panic; returns whether there is one. For
    /// tests of what its users see.
    pub fn crash(&self, name: &str) -> bool {
        self.inject(name, Fault::Panic, 1)
    }

    /// Makes the actor called `name` (or `group/name`) fail `times` in a row, as if by messages
    /// queued now; returns whether there is one. For tests of what its users see.
    pub fn inject(&self, name: &str, fault: Fault, times: u32) -> bool {
        self.registry.inject(name, fault, times)
    }

    /// From now on every failure is answered by a restart at once and none is escalated: for tests
    /// that crash an actor more often than any real one should.
    pub fn disable_escalation(&self) {
        self.registry.hooks.always_restart.store(true, Relaxed);
    }

    /// From now on no restart waits for a pause, and all else is as the policies say: for tests of
    /// what follows when an actor fails too often.
    pub fn disable_backoff(&self) {
        self.registry.hooks.no_backoff.store(true, Relaxed);
    }

    /// Stops all actors in order, the last one started first. Each is refused further messages,
    /// deals with what is queued, does what [`Worker::stopping`] returns and finishes its answers
    /// in progress. One that is late is cut short: each but the last has half of what is left of
    /// `deadline`.
    pub async fn shut_down(&self, deadline: Duration) {
        let until = Instant::now() + deadline;
        let mut nodes = self.registry.started(self.group);
        while let Some(node) = nodes.pop() {
            let left = until.saturating_duration_since(Instant::now());
            let share = if nodes.is_empty() { left } else { left / 2 };
            if let Some((name, finished)) = self.registry.finish(node)
                && tokio::time::timeout(share, finished).await.is_err()
            {
                log::warn!("actor {name} did not finish within {share:?}");
            }
            self.registry.end(node);
        }
    }

    /// Stops all actors at once, the last one started first.
    pub fn stop(&self) {
        self.registry
            .started(self.group)
            .into_iter()
            .rev()
            .for_each(|node| self.registry.end(node));
    }

    fn start<W: Worker>(
        &self,
        name: &'static str,
        restart: RestartPolicy,
        limits: Limits,
        placement: impl FnOnce(&Record) -> Placement<W> + Send + 'static,
    ) -> Mailbox<W> {
        let record = Arc::new(Record::new(name, self.path.to_string()));
        let capacity = Arc::new(Capacity::new(limits.mailbox_capacity));
        // The bound of this channel is not what bounds us: see the crate doc.
        let (sender, receiver) = channel::channel(1);
        let mailbox = Mailbox::new(Addr::new(sender), Arc::clone(&capacity), limits.ask_timeout);
        let (commands, received) = mpsc::unbounded_channel();

        self.registry.add(self.group, |node| {
            let arbiter = Arbiter::new();
            let (own, noted, counted) =
                (mailbox.clone(), Arc::clone(&record), Arc::clone(&capacity));
            let (events, hooks) = (self.registry.events.clone(), Arc::clone(&self.registry.hooks));
            arbiter.spawn_fn(move || {
                panic_hook::install_on_this_thread();
                let placement = placement(&noted);
                let tracker =
                    FailureTracker::new(noted, restart, ParentLink { node, events, hooks });
                let in_flight = InFlight::new(&limits);
                let (noted, running) = (Rc::clone(&tracker), Rc::clone(&in_flight));
                let cell = ActorCell::new(placement, limits, own, noted, running);
                let context = Context::with_receiver(receiver);
                run(Runner::new(context, cell, in_flight, received, tracker, counted));
            });
            let (injected, finished) = (mailbox.clone(), mailbox.clone());
            Child {
                record,
                capacity,
                arbiter: Some(arbiter),
                commands,
                inject: Box::new(move |fault| injected.inject(fault)),
                finish: Box::new(move |done| finished.finish(done)),
            }
        });
        mailbox
    }
}

/// Runs `work` on this thread for as long as it takes, outside of any actor: a connection, say. A
/// panic in it is logged with `what` and ends only it.
pub fn spawn_detached(what: &'static str, work: impl Future<Output = ()> + 'static) {
    run(async move {
        if let Err(payload) = AssertUnwindSafe(work).catch_unwind().await {
            log::error!("{what} failed: {}", Failure::panic(&*payload));
        }
    });
}

#[expect(clippy::disallowed_methods, reason = "what runs here is guarded against panics")]
fn run(work: impl Future<Output = ()> + 'static) {
    actix_rt::spawn(counted(work));
}
