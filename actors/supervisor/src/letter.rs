//! The answer on its way back: one allocation for the answer, for who waits for it, and for how
//! long.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::failure::Unavailable;
use crate::patience::{self, Overdue};

/// Returns the two ends of a letter.
pub(crate) fn letter<T: Send + 'static>() -> (Sender<T>, Addressee<T>) {
    let letter = Letter { stage: Mutex::new(Stage::Unsent), is_for_nobody: AtomicBool::new(false) };
    let letter = Arc::new(letter);
    (Sender(Some(Arc::clone(&letter))), Addressee(Some(letter)))
}

/// Who is to answer, until it has. Dropped before, it says so. Empty if nobody asked.
pub(crate) struct Sender<T>(Option<Arc<Letter<T>>>);

/// Who waits for the answer, until the wait is over.
pub(crate) struct Addressee<T: Send + 'static>(Option<Arc<Letter<T>>>);

struct Letter<T> {
    stage: Mutex<Stage<T>>,
    /// Whether the wait is over; beside the stage, for whoever answers looks before it begins.
    is_for_nobody: AtomicBool,
}

type Answer<T> = Result<T, Unavailable>;

enum Stage<T> {
    /// Not sent, and nobody has looked.
    Unsent,
    Awaited(Waker),
    Sent(Answer<T>),
    /// It will not be sent.
    Lost,
    /// It was not sent in time, or whoever waited has gone.
    Late,
}

impl<T> Letter<T> {
    fn stage(&self) -> MutexGuard<'_, Stage<T>> {
        self.stage.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Ends the wait so, unless it has ended.
    fn end(&self, end: Stage<T>) {
        let mut stage = self.stage();
        if !matches!(*stage, Stage::Unsent | Stage::Awaited(_)) {
            return;
        }
        let before = std::mem::replace(&mut *stage, end);
        drop(stage);
        if let Stage::Awaited(waker) = before {
            waker.wake();
        }
    }
}

impl<T> Sender<T> {
    /// The sender of an answer that nobody asked for.
    pub(crate) fn idle() -> Self {
        Self(None)
    }

    pub(crate) fn send(mut self, answer: Answer<T>) {
        if let Some(letter) = self.0.take() {
            letter.end(Stage::Sent(answer));
        }
    }

    /// Whether there was an asker and it does not wait any more.
    pub(crate) fn is_for_nobody(&self) -> bool {
        self.0.as_ref().is_some_and(|letter| letter.is_for_nobody.load(Relaxed))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(letter) = self.0.take() {
            letter.end(Stage::Lost);
        }
    }
}

impl<T: Send + 'static> Addressee<T> {
    /// Waits for the answer, `limit` at most; returns nothing if it will not come.
    pub(crate) async fn wait(mut self, limit: Duration) -> Option<Answer<T>> {
        let mut is_watched = false;
        poll_fn(|task| {
            let Some(letter) = &self.0 else { return Poll::Ready(None) };
            let mut stage = letter.stage();
            match &mut *stage {
                Stage::Unsent => *stage = Stage::Awaited(task.waker().clone()),
                Stage::Awaited(waker) => waker.clone_from(task.waker()),
                Stage::Sent(_) | Stage::Lost | Stage::Late => {
                    let end = std::mem::replace(&mut *stage, Stage::Lost);
                    drop(stage);
                    self.0 = None;
                    return Poll::Ready(match end {
                        Stage::Sent(answer) => Some(answer),
                        Stage::Late => Some(Err(Unavailable::TimedOut)),
                        _ => None,
                    });
                }
            }
            drop(stage);
            if !std::mem::replace(&mut is_watched, true) {
                patience::watch(limit, Arc::clone(letter) as Arc<dyn Overdue>);
            }
            Poll::Pending
        })
        .await
    }
}

impl<T: Send + 'static> Drop for Addressee<T> {
    fn drop(&mut self) {
        if let Some(letter) = &self.0 {
            letter.late();
        }
    }
}

impl<T: Send> Overdue for Letter<T> {
    fn late(&self) {
        self.is_for_nobody.store(true, Relaxed);
        self.end(Stage::Late);
    }
}
