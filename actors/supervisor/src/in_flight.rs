//! Handler futures in progress: a bounded number at a time, the others in the order they came. The
//! runner polls them beside the context, so that they can outlive the worker they came from.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context as Task, Poll, Waker};

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;

/// Shared by an actor's cell, which adds futures, and its runner, which polls them.
pub(crate) struct InFlight {
    state: RefCell<State>,
    max_concurrent: usize,
}

#[derive(Default)]
struct State {
    running: FuturesUnordered<LocalBoxFuture<'static, ()>>,
    queued: VecDeque<LocalBoxFuture<'static, ()>>,
    /// Who waits until all have finished.
    finished: Option<Waker>,
}

impl InFlight {
    pub(crate) fn new(max_concurrent: usize) -> Rc<Self> {
        Rc::new(Self { state: RefCell::default(), max_concurrent: max_concurrent.max(1) })
    }

    /// Runs `answer` beside the others, or queues it when as many as allowed are running.
    pub(crate) fn begin(&self, answer: LocalBoxFuture<'static, ()>) {
        let mut state = self.state.borrow_mut();
        if state.running.len() < self.max_concurrent {
            state.running.push(answer);
        } else {
            state.queued.push_back(answer);
        }
    }

    /// Polls all that are running; `task` is woken when one of them can go on.
    pub(crate) fn poll(&self, task: &mut Task<'_>) {
        let mut state = self.state.borrow_mut();
        while let Poll::Ready(Some(())) = state.running.poll_next_unpin(task) {
            if let Some(next) = state.queued.pop_front() {
                state.running.push(next);
            }
        }
        if state.running.is_empty()
            && let Some(waker) = state.finished.take()
        {
            waker.wake();
        }
    }

    /// Drops all of them: their askers are told that the actor has crashed.
    pub(crate) fn cancel(&self) {
        // Dropped when the state is not borrowed any more: dropping runs code of the worker.
        let cancelled = self.state.take();
        drop(cancelled);
    }

    /// Ends when none is left.
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
