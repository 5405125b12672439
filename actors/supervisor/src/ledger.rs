//! What an actor's failures come to: counted, logged, judged.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::guard::Order;
use crate::restart::{History, Restart, Verdict};
use crate::status::{ActorState, Record};
use crate::tree::Node;
use crate::warden::Event;

/// The way from an actor to the supervisor above it.
pub(crate) struct Upward {
    pub(crate) node: Node,
    pub(crate) events: Sender<Event>,
    pub(crate) drill: Arc<Drill>,
}

/// What tests want otherwise than the policies say.
#[derive(Default)]
pub(crate) struct Drill {
    /// Every failure is answered by a restart at once, for ever.
    pub(crate) tireless: AtomicBool,
    /// There is no pause before a restart; all else is as ever.
    pub(crate) hasty: AtomicBool,
}

/// Shared by a host and the guard around it.
pub(crate) struct Ledger {
    pub(crate) record: Arc<Record>,
    history: RefCell<History>,
    upward: Upward,
    /// What the guard has yet to act on.
    verdict: Cell<Option<Verdict>>,
    /// Whether the supervisor waits to hear that this actor is ready.
    awaited: Cell<bool>,
    over: Cell<bool>,
}

impl Ledger {
    pub(crate) fn new(record: Arc<Record>, restart: Restart, upward: Upward) -> Rc<Self> {
        Rc::new(Self {
            record,
            history: RefCell::new(History::new(restart)),
            upward,
            verdict: Cell::new(None),
            awaited: Cell::new(false),
            over: Cell::new(false),
        })
    }

    /// Notes a failure, logs it, and leaves a verdict for the guard.
    pub(crate) fn failed(&self, failure: &Failure) {
        let Drill { tireless, hasty } = &*self.upward.drill;
        let verdict = match tireless.load(Relaxed) {
            true => Verdict::Rebuild(Duration::ZERO),
            false => self.history.borrow_mut().failed(Instant::now(), jitter),
        };
        match verdict {
            Verdict::Rebuild(_) if hasty.load(Relaxed) => self.rebuilding(failure, Duration::ZERO),
            Verdict::Rebuild(pause) => self.rebuilding(failure, pause),
            Verdict::Escalate => self.escalate(failure),
        }
    }

    fn rebuilding(&self, failure: &Failure, pause: Duration) {
        self.record.failed(failure, ActorState::Backoff);
        log::error!("actor {} failed, restarting in {pause:?}: {failure}", self.record.name);
        self.verdict.set(Some(Verdict::Rebuild(pause)));
    }

    /// Notes a failure that is the parent's to deal with.
    pub(crate) fn escalate(&self, failure: &Failure) {
        self.record.failed(failure, ActorState::Escalated);
        log::error!("actor {} failed too often, its parent decides: {failure}", self.record.name);
        self.verdict.set(Some(Verdict::Escalate));
        // Without a supervisor there is nobody to restart it; it stays parked.
        let _ = self.upward.events.send(Event::Escalated(self.upward.node, failure.to_string()));
    }

    pub(crate) fn has_verdict(&self) -> bool {
        self.verdict.get().is_some()
    }

    pub(crate) fn take_verdict(&self) -> Option<Verdict> {
        self.verdict.take()
    }

    /// Notes that the parent has thrown the state away.
    pub(crate) fn parked(&self) {
        self.verdict.set(None);
        self.record.set(ActorState::Escalated);
        self.done(Order::Park);
    }

    /// Notes that the parent wants the state rebuilt and waits for it.
    pub(crate) fn rebuilt_by_parent(&self) {
        self.history.borrow_mut().forget();
        self.awaited.set(true);
        self.record.restarted_by_parent();
    }

    /// Notes that the worker reads its messages.
    pub(crate) fn ready(&self) {
        self.record.built();
        if self.awaited.take() {
            self.done(Order::Rebuild);
        }
    }

    fn done(&self, order: Order) {
        let _ = self.upward.events.send(Event::Done(self.upward.node, order));
    }

    /// Notes that the thread of this actor ends.
    pub(crate) fn end(&self) {
        self.over.set(true);
        self.record.set(ActorState::Stopped);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }
}

/// Returns a number between 0 and 1 that neighbours do not share.
fn jitter() -> f64 {
    let mut byte = [0];
    // Without randomness the pause is just not spread.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut byte);
    f64::from(byte[0]) / 255.0
}
