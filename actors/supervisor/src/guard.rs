//! The guard: polls an actor's context where a panic cannot end it, and restarts it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};

use actix::Context;
use actix::dev::ContextFut;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Sleep;

use crate::answers::Answers;
use crate::failure::Failure;
use crate::gauge::Gauge;
use crate::host::Host;
use crate::ledger::Ledger;
use crate::restart::Verdict;
use crate::worker::Worker;

/// What the supervisor above wants of an actor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Order {
    /// Throw the state away and read no message.
    Park,
    /// Build fresh state and go on.
    Rebuild,
}

/// Runs a host's context. `ContextFut::restart` keeps the mailbox, so every address stays good; a
/// pause is simply not polling it for a while.
pub(crate) struct Guard<W: Worker> {
    context: ContextFut<Host<W>, Context<Host<W>>>,
    answers: Rc<Answers>,
    rest: Rest,
    orders: UnboundedReceiver<Order>,
    ledger: Rc<Ledger>,
    gauge: Arc<Gauge>,
}

enum Rest {
    None,
    Pause(Pin<Box<Sleep>>),
    Parked,
}

impl<W: Worker> Guard<W> {
    pub(crate) fn new(
        context: Context<Host<W>>,
        host: Host<W>,
        answers: Rc<Answers>,
        orders: UnboundedReceiver<Order>,
        ledger: Rc<Ledger>,
        gauge: Arc<Gauge>,
    ) -> Self {
        let context = context.into_future(host);
        Self { context, answers, rest: Rest::None, orders, ledger, gauge }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Park => {
                self.reset();
                self.ledger.parked();
                self.rest = Rest::Parked;
            }
            Order::Rebuild => {
                self.reset();
                self.ledger.rebuilt_by_parent();
                self.rest = Rest::None;
            }
        }
    }

    /// Throws away the state and, with it, what is in progress; the next poll builds anew.
    fn reset(&mut self) {
        // What is thrown away is torn and may panic once more; a part less is left each time.
        while catch_unwind(AssertUnwindSafe(|| self.context.restart())).is_err() {
            log::error!("actor {} panicked again while it was dropped", self.ledger.record.name);
        }
    }

    fn await_rebuild(&mut self) {
        self.rest = match self.ledger.take_verdict() {
            Some(Verdict::Escalate) => Rest::Parked,
            Some(Verdict::Rebuild(pause)) if !pause.is_zero() => {
                Rest::Pause(Box::pin(tokio::time::sleep(pause)))
            }
            _ => Rest::None,
        };
        self.reset();
    }

    /// Runs the context until it has nothing to do, or is to be restarted.
    fn poll_context(&mut self, task: &mut Task<'_>) -> Poll<()> {
        while let Poll::Ready(Some(order)) = self.orders.poll_recv(task) {
            self.obey(order);
        }
        match &mut self.rest {
            Rest::None => {}
            Rest::Parked => return Poll::Pending,
            Rest::Pause(pause) => {
                ready!(pause.as_mut().poll(task));
                self.rest = Rest::None;
            }
        }
        let context = AssertUnwindSafe(|| Pin::new(&mut self.context).poll(task));
        match catch_unwind(context) {
            Ok(Poll::Ready(())) => return Poll::Ready(()),
            Ok(Poll::Pending) if !self.ledger.has_verdict() => return Poll::Pending,
            // A panic on the way out of another failure is part of it.
            Err(payload) if !self.ledger.has_verdict() => {
                self.ledger.failed(&Failure::panic(&*payload));
            }
            Ok(Poll::Pending) | Err(_) => {}
        }
        self.await_rebuild();
        // Not at once: an actor that fails again and again must not keep others from their turn.
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<W: Worker> Future for Guard<W> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let done = self.poll_context(task);
        self.answers.poll(task);
        done
    }
}

impl<W: Worker> Drop for Guard<W> {
    fn drop(&mut self) {
        self.gauge.close();
        // Dropping a context polls it once more; nothing is to be built then.
        self.ledger.end();
    }
}
