//! Answers in progress: each under a deadline, some number at a time. The runner polls them beside
//! the context, so that they outlive the worker they came from.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use actix::Message;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use crate::cell::{WorkerFailed, into_retry};
use crate::deadline::timeout;
use crate::failure::Failure;
use crate::limits::Limits;
use crate::mailbox::{Envelope, Mailbox};
use crate::worker::Handler;

pub(crate) struct InFlight {
    state: RefCell<State>,
    limit: Duration,
    max_concurrent: usize,
}

#[derive(Default)]
struct State {
    running: FuturesUnordered<LocalBoxFuture<'static, ()>>,
    /// What waits for its turn.
    later: VecDeque<LocalBoxFuture<'static, ()>>,
    /// Who waits for the end of all.
    finished: Option<Waker>,
}

impl InFlight {
    pub(crate) fn new(limits: &Limits) -> Rc<Self> {
        let state = RefCell::default();
        Rc::new(Self {
            state,
            limit: limits.handler_timeout,
            max_concurrent: limits.max_concurrent.max(1),
        })
    }

    /// Finishes `answer` beside other messages.
    pub(crate) fn begin<W, M>(
        &self,
        envelope: Envelope<M>,
        answer: LocalBoxFuture<'static, M::Result>,
        mailbox: Mailbox<W>,
        incarnation: u64,
    ) where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        let limit = W::timeout(&envelope.message).unwrap_or(self.limit);
        let answer = Box::pin(async move {
            let failure = match timeout(limit, AssertUnwindSafe(answer).catch_unwind()).await {
                Some(Ok(answer)) => return envelope.reply.answer(Ok(answer)),
                Some(Err(payload)) => Failure::panic(&*payload),
                None => Failure::Deadline(limit),
            };
            // The worker first: what the asker sends next is for the one after it.
            let error = failure.as_ask_error();
            match into_retry(envelope) {
                Ok(retry) => mailbox.report(WorkerFailed::new(incarnation, failure).with(retry)),
                Err(reply) => {
                    mailbox.report(WorkerFailed::new(incarnation, failure));
                    reply.answer(Err(error));
                }
            }
        });
        let mut state = self.state.borrow_mut();
        match state.running.len() < self.max_concurrent {
            true => state.running.push(answer),
            false => state.later.push_back(answer),
        }
    }

    /// Makes progress with all; the task is woken when there is more to make.
    pub(crate) fn poll(&self, task: &mut Task<'_>) {
        let mut state = self.state.borrow_mut();
        while let Poll::Ready(Some(())) = state.running.poll_next_unpin(task) {
            if let Some(next) = state.later.pop_front() {
                state.running.push(next);
            }
        }
        if state.running.is_empty()
            && let Some(waker) = state.finished.take()
        {
            waker.wake();
        }
    }

    /// Cancels all; their askers are told that the actor has crashed.
    pub(crate) fn cancel(&self) {
        let cancelled = self.state.take();
        drop(cancelled);
    }

    /// Ends when none is in progress.
    pub(crate) fn finished(self: &Rc<Self>) -> impl Future<Output = ()> + use<> {
        let in_flight = Rc::clone(self);
        poll_fn(move |task| {
            let mut state = in_flight.state.borrow_mut();
            if state.running.is_empty() {
                return Poll::Ready(());
            }
            state.finished = Some(task.waker().clone());
            Poll::Pending
        })
    }
}
