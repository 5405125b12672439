use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::dev::channel;
use actix::{Addr, Arbiter, Context};
use futures_util::FutureExt;

use crate::failure::Failure;
use crate::guard::Guard;
use crate::host::{Host, Ledger, Shape};
use crate::mailbox::{Gauge, Mailbox};
use crate::restart::{History, Restart};
use crate::status::{ActorStatus, Record};
use crate::worker::Worker;

/// How much an actor takes on, and how long anything may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages queued or in work; one more is refused as busy.
    pub mailbox: usize,
    /// Answers in progress at the same time; further ones wait for a slot.
    pub at_once: usize,
    /// An answer that takes longer is cancelled and counts as a failure.
    pub handler: Duration,
    /// An asker waits no longer than this, queueing included.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mailbox: 1024,
            at_once: 256,
            handler: Duration::from_secs(20),
            answer: Duration::from_secs(25),
        }
    }
}

/// Starts actors, rebuilds what fails, and tells how they are. Cheap to clone.
#[derive(Clone, Default)]
pub struct Supervisor {
    children: Arc<Mutex<Vec<Child>>>,
}

struct Child {
    record: Arc<Record>,
    gauge: Arc<Gauge>,
    crash: Box<dyn Fn() + Send>,
    arbiter: Arbiter,
}

impl Supervisor {
    /// Starts an actor that a panic restarts as a whole: its other answers in progress are
    /// cancelled, their askers get [`Unavailable::Crashed`](crate::Unavailable::Crashed). Needs a
    /// running actix system.
    pub fn guard<W: Worker>(
        &self,
        name: &'static str,
        restart: Restart,
        limits: Limits,
        factory: impl Fn() -> W + Send + 'static,
    ) -> Mailbox<W> {
        self.start(Shape::Guard, name, restart, limits, factory)
    }

    /// Starts an actor whose other answers in progress outlive a panic. Needs a running actix
    /// system.
    pub fn host<W: Worker>(
        &self,
        name: &'static str,
        restart: Restart,
        limits: Limits,
        factory: impl Fn() -> W + Send + 'static,
    ) -> Mailbox<W> {
        self.start(Shape::Host, name, restart, limits, factory)
    }

    /// Returns how every actor is, in the order they were started.
    pub fn status(&self) -> Vec<ActorStatus> {
        self.children().iter().map(|child| child.record.status(&child.gauge)).collect()
    }

    /// Makes the actor called `name` panic; returns whether there is one. For tests of what its
    /// users see.
    pub fn crash(&self, name: &str) -> bool {
        let children = self.children();
        let child = children.iter().find(|child| child.record.name == name);
        child.inspect(|child| (child.crash)()).is_some()
    }

    /// Stops all actors, the last one started first.
    pub fn stop(&self) {
        for child in self.children().drain(..).rev() {
            child.arbiter.stop();
            child.record.stopped();
        }
    }

    fn start<W: Worker>(
        &self,
        shape: Shape,
        name: &'static str,
        restart: Restart,
        limits: Limits,
        factory: impl Fn() -> W + Send + 'static,
    ) -> Mailbox<W> {
        let record = Arc::new(Record::new(name));
        let gauge = Arc::new(Gauge::new(limits.mailbox));
        // The bound of this channel is not what bounds us: see the crate doc.
        let (sender, receiver) = channel::channel(1);
        let mailbox = Mailbox::new(Addr::new(sender), Arc::clone(&gauge), limits.answer);

        let arbiter = Arbiter::new();
        let (own, noted) = (mailbox.clone(), Arc::clone(&record));
        arbiter.spawn_fn(move || {
            let context = Context::with_receiver(receiver);
            let ledger = Ledger::new(noted, History::new(restart));
            let host = Host::new(shape, limits, Box::new(factory), own, Rc::clone(&ledger));
            run(Guard::new(context, host, ledger));
        });

        let target = mailbox.clone();
        let crash = Box::new(move || target.crash());
        self.children().push(Child { record, gauge, crash, arbiter });
        mailbox
    }

    fn children(&self) -> std::sync::MutexGuard<'_, Vec<Child>> {
        self.children.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
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
    actix_rt::spawn(work);
}
