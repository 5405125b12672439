//! The answer on its way back: one allocation for the answer, for who waits for it, and for how
//! long.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::deadline::{self, OnDeadline};
use crate::failure::AskError;

/// Returns the two ends of a slot.
pub(crate) fn reply_channel<T: Send + 'static>() -> (ReplySender<T>, ReplyReceiver<T>) {
    let slot = Slot { state: Mutex::new(State::Unsent), is_abandoned: AtomicBool::new(false) };
    let slot = Arc::new(slot);
    (ReplySender(Some(Arc::clone(&slot))), ReplyReceiver(Some(slot)))
}

/// Who is to answer, until it has. Dropped before, it says so. Empty if nobody asked.
pub(crate) struct ReplySender<T>(Option<Arc<Slot<T>>>);

/// Who waits for the answer, until the wait is over.
pub(crate) struct ReplyReceiver<T: Send + 'static>(Option<Arc<Slot<T>>>);

struct Slot<T> {
    state: Mutex<State<T>>,
    /// Whether the wait is over; beside the stage, for whoever answers looks before it begins.
    is_abandoned: AtomicBool,
}

type Answer<T> = Result<T, AskError>;

enum State<T> {
    /// Not sent, and nobody has looked.
    Unsent,
    Awaited(Waker),
    Sent(Answer<T>),
    /// It will not be sent.
    Dropped,
    /// It was not sent in time, or whoever waited has gone.
    TimedOut,
}

impl<T> Slot<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Ends the wait so, unless it has ended.
    fn end(&self, end: State<T>) {
        let mut state = self.state();
        if !matches!(*state, State::Unsent | State::Awaited(_)) {
            return;
        }
        let before = std::mem::replace(&mut *state, end);
        drop(state);
        if let State::Awaited(waker) = before {
            waker.wake();
        }
    }
}

impl<T> ReplySender<T> {
    /// The sender of an answer that nobody asked for.
    pub(crate) fn detached() -> Self {
        Self(None)
    }

    pub(crate) fn send(mut self, answer: Answer<T>) {
        if let Some(slot) = self.0.take() {
            slot.end(State::Sent(answer));
        }
    }

    /// Whether there was an asker and it does not wait any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.as_ref().is_some_and(|slot| slot.is_abandoned.load(Relaxed))
    }
}

impl<T> Drop for ReplySender<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            slot.end(State::Dropped);
        }
    }
}

impl<T: Send + 'static> ReplyReceiver<T> {
    /// Waits for the answer, `limit` at most; returns nothing if it will not come.
    pub(crate) async fn wait(mut self, limit: Duration) -> Option<Answer<T>> {
        let mut is_watched = false;
        poll_fn(|task| {
            let Some(slot) = &self.0 else { return Poll::Ready(None) };
            let mut state = slot.state();
            match &mut *state {
                State::Unsent => *state = State::Awaited(task.waker().clone()),
                State::Awaited(waker) => waker.clone_from(task.waker()),
                State::Sent(_) | State::Dropped | State::TimedOut => {
                    let end = std::mem::replace(&mut *state, State::Dropped);
                    drop(state);
                    self.0 = None;
                    return Poll::Ready(match end {
                        State::Sent(answer) => Some(answer),
                        State::TimedOut => Some(Err(AskError::TimedOut)),
                        _ => None,
                    });
                }
            }
            drop(state);
            if !std::mem::replace(&mut is_watched, true) {
                deadline::schedule(limit, Arc::clone(slot) as Arc<dyn OnDeadline>);
            }
            Poll::Pending
        })
        .await
    }
}

impl<T: Send + 'static> Drop for ReplyReceiver<T> {
    fn drop(&mut self) {
        if let Some(slot) = &self.0 {
            slot.expire();
        }
    }
}

impl<T: Send> OnDeadline for Slot<T> {
    fn expire(&self) {
        self.is_abandoned.store(true, Relaxed);
        self.end(State::TimedOut);
    }
}
