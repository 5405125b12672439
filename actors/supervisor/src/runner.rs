//! The task of an actor: it polls the context where a panic cannot end it, and restarts it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};

use actix::dev::ContextFut;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Sleep;

use crate::capacity::Capacity;
use crate::cell::ActorCell;
use crate::command::Command;
use crate::failure::Failure;
use crate::failure_tracker::FailureTracker;
use crate::in_flight::InFlight;
use crate::restart::Decision;
use crate::worker::Worker;

/// Runs the context of an actor's cell. `ContextFut::restart` keeps the mailbox, so every address
/// stays good; an actor in backoff is simply not polled.
pub(crate) struct Runner<W: Worker> {
    context: ContextFut<ActorCell<W>, actix::Context<ActorCell<W>>>,
    in_flight: Rc<InFlight>,
    phase: Phase,
    commands: UnboundedReceiver<Command>,
    tracker: Rc<FailureTracker>,
    capacity: Arc<Capacity>,
}

enum Phase {
    Running,
    Backoff(Pin<Box<Sleep>>),
    /// Until the supervisor restarts it.
    Suspended,
}

impl<W: Worker> Runner<W> {
    pub(crate) fn new(
        context: actix::Context<ActorCell<W>>,
        cell: ActorCell<W>,
        in_flight: Rc<InFlight>,
        commands: UnboundedReceiver<Command>,
        tracker: Rc<FailureTracker>,
        capacity: Arc<Capacity>,
    ) -> Self {
        let context = context.into_future(cell);
        Self { context, in_flight, phase: Phase::Running, commands, tracker, capacity }
    }

    fn on_command(&mut self, command: Command) {
        self.reset();
        match command {
            Command::Suspend => {
                self.tracker.suspended();
                self.phase = Phase::Suspended;
            }
            Command::Restart => {
                self.tracker.restarted_by_parent();
                self.phase = Phase::Running;
            }
        }
    }

    /// Throws the worker away and, with it, what it began; the next poll builds a fresh one.
    fn reset(&mut self) {
        // What is thrown away is torn and may panic once more; a part less is left each time.
        while catch_unwind(AssertUnwindSafe(|| self.context.restart())).is_err() {
            let actor = self.tracker.record.name;
            log::error!(actor:% = actor; "actor {actor} panicked again while it was dropped");
        }
    }

    fn begin_restart(&mut self) {
        self.phase = match self.tracker.take_decision() {
            Some(Decision::Escalate) => Phase::Suspended,
            Some(Decision::Restart(pause)) if !pause.is_zero() => {
                Phase::Backoff(Box::pin(tokio::time::sleep(pause)))
            }
            _ => Phase::Running,
        };
        self.reset();
    }

    /// Runs the context until it has nothing to do, or is to be restarted.
    fn poll_context(&mut self, task: &mut Task<'_>) -> Poll<()> {
        while let Poll::Ready(Some(command)) = self.commands.poll_recv(task) {
            self.on_command(command);
        }
        match &mut self.phase {
            Phase::Running => {}
            Phase::Suspended => return Poll::Pending,
            Phase::Backoff(pause) => {
                ready!(pause.as_mut().poll(task));
                self.phase = Phase::Running;
            }
        }
        let context = AssertUnwindSafe(|| Pin::new(&mut self.context).poll(task));
        match catch_unwind(context) {
            Ok(Poll::Ready(())) => return Poll::Ready(()),
            Ok(Poll::Pending) if !self.tracker.has_decision() => return Poll::Pending,
            // A panic on the way out of another failure is part of it.
            Err(payload) if !self.tracker.has_decision() => {
                self.tracker.failed(&Failure::panic(&*payload));
            }
            Ok(Poll::Pending) | Err(_) => {}
        }
        self.begin_restart();
        // Not at once: an actor that fails again and again must not keep others from their turn.
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<W: Worker> Future for Runner<W> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let done = self.poll_context(task);
        self.in_flight.poll(task);
        done
    }
}

impl<W: Worker> Drop for Runner<W> {
    fn drop(&mut self) {
        self.capacity.close();
        // Dropping a context polls it once more; nothing is to be built then.
        self.tracker.stop();
    }
}
