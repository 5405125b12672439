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

use crate::answers::Answers;
use crate::core::{Child, Core};
use crate::failure::Failure;
use crate::fault::Fault;
use crate::gauge::Gauge;
use crate::guard::Guard;
use crate::hook;
use crate::host::{Home, Host};
use crate::ledger::{Ledger, Upward};
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use crate::restart::Restart;
use crate::status::{ActorStatus, Record};
use crate::tasks::counted;
use crate::tree::{Node, Policy, Tree};
use crate::warden::Watch;
use crate::worker::Worker;

/// Starts actors, rebuilds what fails, and tells how they are. Cheap to clone; when the last clone
/// is gone, nobody decides about escalations any more.
#[derive(Clone)]
pub struct Supervisor {
    core: Arc<Core>,
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
        Self::watched(policy, Watch::default())
    }

    /// Makes the root of a tree whose own thread is as patient as `watch` says.
    pub fn watched(policy: Policy, watch: Watch) -> Self {
        Self { core: Core::new(policy, watch), group: Tree::ROOT, path: "".into() }
    }

    /// Makes a group under this one, itself a supervisor: it deals with its own actors by `policy`,
    /// and escalates as they do.
    pub fn group(&self, name: &str, policy: Policy) -> Self {
        let group = self.core.add_group(self.group, policy);
        let path = match &*self.path {
            "" => name.into(),
            above => format!("{above}/{name}").into(),
        };
        Self { core: Arc::clone(&self.core), group, path }
    }

    /// Starts an actor that a failure restarts as a whole: its other answers in progress are
    /// cancelled, their askers get [`Unavailable::Crashed`](crate::Unavailable::Crashed). Needs a
    /// running actix system.
    pub fn guard<W: Worker>(
        &self,
        name: &'static str,
        restart: Restart,
        limits: Limits,
        factory: impl Fn() -> W + Send + 'static,
    ) -> Mailbox<W> {
        self.start(name, restart, limits, move |_| Home::here(factory, false))
    }

    /// Starts an actor whose other answers in progress outlive a failure. Needs a running actix
    /// system.
    pub fn host<W: Worker>(
        &self,
        name: &'static str,
        restart: Restart,
        limits: Limits,
        factory: impl Fn() -> W + Send + 'static,
    ) -> Mailbox<W> {
        self.start(name, restart, limits, move |_| Home::here(factory, true))
    }

    /// Starts an actor whose handlers may block: the worker has a thread of its own and deals with
    /// one message at a time. A handler past [`Limits::handler`] cannot be cancelled: its thread is
    /// left behind and a new one takes over, so what it still does happens late, perhaps beside
    /// what the next worker does. Only for work that may be done twice. Needs a running actix
    /// system.
    pub fn thread<W: Worker>(
        &self,
        name: &'static str,
        restart: Restart,
        limits: Limits,
        factory: impl Fn() -> W + Send + Sync + 'static,
    ) -> Mailbox<W> {
        self.start(name, restart, limits, move |record| {
            Home::thread(factory, record.abandoned.clone())
        })
    }

    /// Returns how every actor here and in the groups below is, in the order they were started.
    pub fn status(&self) -> Vec<ActorStatus> {
        self.core.status(self.group)
    }

    /// Ends, with the cause, when the supervisor can do no more: the program is then to stop in
    /// order and to exit with [`EX_SOFTWARE`](crate::EX_SOFTWARE). If it has not after
    /// [`Watch::drain`], the supervisor's own thread ends it.
    pub fn fatal(&self) -> impl Future<Output = String> + use<> {
        let mut fatal = self.core.fatal();
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
        self.core.inject(name, fault, times)
    }

    /// From now on every failure is answered by a restart at once and none is escalated: for tests
    /// that crash an actor more often than any real one should.
    pub fn never_tire(&self) {
        self.core.drill.tireless.store(true, Relaxed);
    }

    /// From now on no restart waits for a pause, and all else is as the policies say: for tests of
    /// what follows when an actor fails too often.
    pub fn never_pause(&self) {
        self.core.drill.hasty.store(true, Relaxed);
    }

    /// Stops all actors in order, the last one started first. Each is refused further messages,
    /// deals with what is queued, does what [`Worker::stopping`] returns and finishes its answers
    /// in progress. One that is late is cut short: each but the last has half of what is left of
    /// `deadline`.
    pub async fn shut_down(&self, deadline: Duration) {
        let until = Instant::now() + deadline;
        let mut nodes = self.core.started(self.group);
        while let Some(node) = nodes.pop() {
            let left = until.saturating_duration_since(Instant::now());
            let share = if nodes.is_empty() { left } else { left / 2 };
            if let Some((name, finished)) = self.core.finish(node)
                && tokio::time::timeout(share, finished).await.is_err()
            {
                log::warn!("actor {name} did not finish within {share:?}");
            }
            self.core.end(node);
        }
    }

    /// Stops all actors at once, the last one started first.
    pub fn stop(&self) {
        self.core.started(self.group).into_iter().rev().for_each(|node| self.core.end(node));
    }

    fn start<W: Worker>(
        &self,
        name: &'static str,
        restart: Restart,
        limits: Limits,
        home: impl FnOnce(&Record) -> Home<W> + Send + 'static,
    ) -> Mailbox<W> {
        let record = Arc::new(Record::new(name, self.path.to_string()));
        let gauge = Arc::new(Gauge::new(limits.mailbox));
        // The bound of this channel is not what bounds us: see the crate doc.
        let (sender, receiver) = channel::channel(1);
        let mailbox = Mailbox::new(Addr::new(sender), Arc::clone(&gauge), limits.answer);
        let (orders, ordered) = mpsc::unbounded_channel();

        self.core.add(self.group, |node| {
            let arbiter = Arbiter::new();
            let (own, noted, counted) = (mailbox.clone(), Arc::clone(&record), Arc::clone(&gauge));
            let (events, drill) = (self.core.events.clone(), Arc::clone(&self.core.drill));
            arbiter.spawn_fn(move || {
                hook::supervise_this_thread();
                let home = home(&noted);
                let ledger = Ledger::new(noted, restart, Upward { node, events, drill });
                let answers = Answers::new(&limits);
                let (noted, running) = (Rc::clone(&ledger), Rc::clone(&answers));
                let host = Host::new(home, limits, own, noted, running);
                let context = Context::with_receiver(receiver);
                run(Guard::new(context, host, answers, ordered, ledger, counted));
            });
            let (injected, finished) = (mailbox.clone(), mailbox.clone());
            Child {
                record,
                gauge,
                arbiter: Some(arbiter),
                orders,
                inject: Box::new(move |fault| injected.inject(fault)),
                finish: Box::new(move |done| finished.finish(done)),
            }
        });
        mailbox
    }
}

/// Runs `work` on this thread for as long as it takes, outside of any actor: a connection, say. A
/// panic in it is logged with `what` and ends only it.
pub fn detached(what: &'static str, work: impl Future<Output = ()> + 'static) {
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
