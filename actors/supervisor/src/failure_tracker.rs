//! What follows from an actor's failures: each is counted, logged and judged.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::time::Instant;

use crate::command::{Command, Event};
use crate::failure::Failure;
use crate::restart::{Decision, RestartHistory, RestartPolicy};
use crate::status::{ActorState, Record};
use crate::test_hooks::TestHooks;
use crate::tree::Node;

/// How an actor reaches the supervisor above it.
pub(crate) struct ParentLink {
    pub(crate) node: Node,
    pub(crate) events: Sender<Event>,
    pub(crate) hooks: Arc<TestHooks>,
}

/// Shared by an actor's cell, which reports failures, and its runner, which acts on the decisions.
pub(crate) struct FailureTracker {
    pub(crate) record: Arc<Record>,
    history: RefCell<RestartHistory>,
    parent: ParentLink,
    /// What the runner has yet to act on.
    decision: Cell<Option<Decision>>,
    /// Whether the supervisor waits to hear that this actor runs again.
    awaited: Cell<bool>,
    stopped: Cell<bool>,
}

impl FailureTracker {
    pub(crate) fn new(record: Arc<Record>, policy: RestartPolicy, parent: ParentLink) -> Rc<Self> {
        Rc::new(Self {
            record,
            history: RefCell::new(RestartHistory::new(policy)),
            parent,
            decision: Cell::new(None),
            awaited: Cell::new(false),
            stopped: Cell::new(false),
        })
    }

    /// Records and logs a failure, and leaves a decision for the runner.
    pub(crate) fn failed(&self, failure: &Failure) {
        let TestHooks { always_restart, no_backoff } = &*self.parent.hooks;
        let decision = if always_restart.load(Relaxed) {
            Decision::Restart(Duration::ZERO)
        } else {
            self.history.borrow_mut().failed(Instant::now(), fastrand::f64())
        };
        let decision = match decision {
            Decision::Restart(_) if no_backoff.load(Relaxed) => Decision::Restart(Duration::ZERO),
            decision => decision,
        };
        self.decision.set(Some(decision));
        let actor = self.record.name;
        match decision {
            Decision::Restart(pause) => {
                self.record.failed(failure, ActorState::Backoff);
                log::error!(actor; "actor {actor} failed, restarting in {pause:?}: {failure}");
            }
            Decision::Escalate => {
                self.record.failed(failure, ActorState::Escalated);
                log::error!(actor; "actor {actor} failed too often, its parent decides: {failure}");
                // Without a supervisor nobody restarts it: it stays suspended.
                self.tell(Event::Escalated(self.parent.node, failure.to_string()));
            }
        }
    }

    pub(crate) fn has_decision(&self) -> bool {
        self.decision.get().is_some()
    }

    pub(crate) fn take_decision(&self) -> Option<Decision> {
        self.decision.take()
    }

    /// Records that the state was thrown away on the supervisor's command.
    pub(crate) fn suspended(&self) {
        self.decision.set(None);
        self.record.set(ActorState::Escalated);
        self.tell(Event::Done(self.parent.node, Command::Suspend));
    }

    /// Records that the supervisor restarts this actor and waits until it runs.
    pub(crate) fn restarted_by_parent(&self) {
        self.history.borrow_mut().reset();
        self.awaited.set(true);
        self.record.restarted_by_parent();
    }

    /// Records that the worker is built and reads its messages.
    pub(crate) fn running(&self) {
        self.record.built();
        if self.awaited.take() {
            self.tell(Event::Done(self.parent.node, Command::Restart));
        }
    }

    /// Records that the thread of this actor ends.
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        self.record.set(ActorState::Stopped);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    fn tell(&self, event: Event) {
        // A supervisor that is gone decides nothing any more.
        let _ = self.parent.events.send(event);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::backoff::Backoff;
    use crate::tree::{Policy, Tree};

    const PAUSE: Duration = Duration::from_secs(3600);

    /// Of an actor that pauses before each of its two restarts, and what its supervisor hears.
    fn tracker() -> (Rc<FailureTracker>, Receiver<Event>) {
        let backoff = Backoff::new(PAUSE, PAUSE);
        let policy =
            RestartPolicy { max_immediate: 0, intensity: 2, backoff, ..RestartPolicy::default() };
        let (events, heard) = channel();
        let node = Tree::new(Policy::default()).add_actor();
        let parent = ParentLink { node, events, hooks: Arc::default() };
        (FailureTracker::new(Arc::new(Record::new("one")), policy, parent), heard)
    }

    fn decision(tracker: &FailureTracker) -> Decision {
        tracker.failed(&Failure::Error("no luck".to_owned()));
        tracker.take_decision().expect("a decision")
    }

    #[test]
    fn without_backoff_an_actor_is_restarted_at_once_and_escalated_all_the_same() {
        let (tracker, heard) = tracker();
        let Decision::Restart(pause) = decision(&tracker) else { panic!("escalated") };
        assert!(pause >= PAUSE / 2, "{pause:?}");
        tracker.parent.hooks.no_backoff.store(true, Relaxed);
        assert_eq!(decision(&tracker), Decision::Restart(Duration::ZERO));
        assert!(heard.try_recv().is_err(), "it is its own affair");
        assert_eq!(decision(&tracker), Decision::Escalate);
        let Ok(Event::Escalated(node, cause)) = heard.try_recv() else { panic!("not told") };
        assert_eq!((node, cause.as_str()), (tracker.parent.node, "error: no luck"));
        tracker.parent.hooks.always_restart.store(true, Relaxed);
        assert_eq!(decision(&tracker), Decision::Restart(Duration::ZERO));
    }
}
