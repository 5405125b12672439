//! What an actor's failures come to: counted, logged, judged.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::restart::{Decision, RestartHistory, RestartPolicy};
use crate::runner::Command;
use crate::status::{ActorState, Record};
use crate::tree::Node;
use crate::watchdog::Event;

/// The way from an actor to the supervisor above it.
pub(crate) struct ParentLink {
    pub(crate) node: Node,
    pub(crate) events: Sender<Event>,
    pub(crate) hooks: Arc<TestHooks>,
}

/// What tests want otherwise than the policies say.
#[derive(Default)]
pub(crate) struct TestHooks {
    /// Every failure is answered by a restart at once, for ever.
    pub(crate) always_restart: AtomicBool,
    /// There is no pause before a restart; all else is as ever.
    pub(crate) no_backoff: AtomicBool,
}

/// Shared by an actor cell and the runner around it.
pub(crate) struct FailureTracker {
    pub(crate) record: Arc<Record>,
    history: RefCell<RestartHistory>,
    parent: ParentLink,
    /// What the runner has yet to act on.
    decision: Cell<Option<Decision>>,
    /// Whether the supervisor waits to hear that this actor is ready.
    awaited: Cell<bool>,
    over: Cell<bool>,
}

impl FailureTracker {
    pub(crate) fn new(record: Arc<Record>, restart: RestartPolicy, parent: ParentLink) -> Rc<Self> {
        Rc::new(Self {
            record,
            history: RefCell::new(RestartHistory::new(restart)),
            parent,
            decision: Cell::new(None),
            awaited: Cell::new(false),
            over: Cell::new(false),
        })
    }

    /// Notes a failure, logs it, and leaves a decision for the runner.
    pub(crate) fn failed(&self, failure: &Failure) {
        let TestHooks { always_restart, no_backoff } = &*self.parent.hooks;
        let decision = match always_restart.load(Relaxed) {
            true => Decision::Restart(Duration::ZERO),
            false => self.history.borrow_mut().failed(Instant::now(), fastrand::f64()),
        };
        match decision {
            Decision::Restart(_) if no_backoff.load(Relaxed) => {
                self.restarting(failure, Duration::ZERO)
            }
            Decision::Restart(pause) => self.restarting(failure, pause),
            Decision::Escalate => self.escalate(failure),
        }
    }

    fn restarting(&self, failure: &Failure, pause: Duration) {
        self.record.failed(failure, ActorState::Backoff);
        log::error!("actor {} failed, restarting in {pause:?}: {failure}", self.record.name);
        self.decision.set(Some(Decision::Restart(pause)));
    }

    /// Notes a failure that is the parent's to deal with.
    pub(crate) fn escalate(&self, failure: &Failure) {
        self.record.failed(failure, ActorState::Escalated);
        log::error!("actor {} failed too often, its parent decides: {failure}", self.record.name);
        self.decision.set(Some(Decision::Escalate));
        // Without a supervisor there is nobody to restart it; it stays parked.
        let _ = self.parent.events.send(Event::Escalated(self.parent.node, failure.to_string()));
    }

    pub(crate) fn has_decision(&self) -> bool {
        self.decision.get().is_some()
    }

    pub(crate) fn take_decision(&self) -> Option<Decision> {
        self.decision.take()
    }

    /// Notes that the parent has thrown the state away.
    pub(crate) fn suspended(&self) {
        self.decision.set(None);
        self.record.set(ActorState::Escalated);
        self.done(Command::Suspend);
    }

    /// Notes that the parent wants the state rebuilt and waits for it.
    pub(crate) fn restarted_by_parent(&self) {
        self.history.borrow_mut().reset();
        self.awaited.set(true);
        self.record.restarted_by_parent();
    }

    /// Notes that the worker reads its messages.
    pub(crate) fn ready(&self) {
        self.record.built();
        if self.awaited.take() {
            self.done(Command::Restart);
        }
    }

    fn done(&self, command: Command) {
        let _ = self.parent.events.send(Event::Done(self.parent.node, command));
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
