//! Answers in progress: each under a deadline, some number at a time. The guard polls them beside
//! the context, so that they outlive the worker they came from.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use actix::Message;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use crate::failure::Failure;
use crate::host::{Failed, again};
use crate::limits::Limits;
use crate::mailbox::{Mailbox, Queued};
use crate::patience::within;
use crate::worker::{Handler, Pending};

pub(crate) struct Answers {
    in_progress: RefCell<InProgress>,
    limit: Duration,
    at_once: usize,
}

#[derive(Default)]
struct InProgress {
    running: FuturesUnordered<Pending<()>>,
    /// What waits for its turn.
    later: VecDeque<Pending<()>>,
    /// Who waits for the end of all.
    finished: Option<Waker>,
}

impl Answers {
    pub(crate) fn new(limits: &Limits) -> Rc<Self> {
        let in_progress = RefCell::default();
        Rc::new(Self { in_progress, limit: limits.handler, at_once: limits.at_once.max(1) })
    }

    /// Finishes `answer` beside other messages.
    pub(crate) fn begin<W, M>(
        &self,
        queued: Queued<M>,
        answer: Pending<M::Result>,
        mailbox: Mailbox<W>,
        incarnation: u64,
    ) where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        let limit = W::limit(&queued.message).unwrap_or(self.limit);
        let answer = Box::pin(async move {
            let failure = match within(limit, AssertUnwindSafe(answer).catch_unwind()).await {
                Some(Ok(answer)) => return queued.slip.answer(Ok(answer)),
                Some(Err(payload)) => Failure::panic(&*payload),
                None => Failure::Deadline(limit),
            };
            // The worker first: what the asker sends next is for the one after it.
            let told = failure.told();
            match again(queued) {
                Ok(again) => mailbox.report(Failed::new(incarnation, failure).with(again)),
                Err(slip) => {
                    mailbox.report(Failed::new(incarnation, failure));
                    slip.answer(Err(told));
                }
            }
        });
        let mut answers = self.in_progress.borrow_mut();
        match answers.running.len() < self.at_once {
            true => answers.running.push(answer),
            false => answers.later.push_back(answer),
        }
    }

    /// Makes progress with all; the task is woken when there is more to make.
    pub(crate) fn poll(&self, task: &mut Task<'_>) {
        let mut answers = self.in_progress.borrow_mut();
        while let Poll::Ready(Some(())) = answers.running.poll_next_unpin(task) {
            if let Some(next) = answers.later.pop_front() {
                answers.running.push(next);
            }
        }
        if answers.running.is_empty()
            && let Some(waker) = answers.finished.take()
        {
            waker.wake();
        }
    }

    /// Cancels all; their askers are told that the actor has crashed.
    pub(crate) fn cancel(&self) {
        let answers = self.in_progress.take();
        drop(answers);
    }

    /// Ends when none is in progress.
    pub(crate) fn finished(self: &Rc<Self>) -> impl Future<Output = ()> + use<> {
        let answers = Rc::clone(self);
        poll_fn(move |task| {
            let mut answers = answers.in_progress.borrow_mut();
            if answers.running.is_empty() {
                return Poll::Ready(());
            }
            answers.finished = Some(task.waker().clone());
            Poll::Pending
        })
    }
}
