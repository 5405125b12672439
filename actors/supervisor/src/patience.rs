//! Deadlines for what is nearly always done long before: cheaper than a timer each.
//!
//! Every thread keeps what it waits for by age, in a few steps for each limit, and one task moves
//! all a step on and wakes what has reached the last. What is done in time costs a place in a list,
//! no timer and no look at the clock; what is late is told so an eighth of its limit late at most.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

/// In how many steps something gets late.
const STEPS: u32 = 8;

thread_local! {
    static REGISTER: RefCell<Arc<Register>> = RefCell::default();
}

/// Finishes `work`, or returns nothing if that takes longer than `limit`. Needs a tokio runtime.
pub(crate) async fn within<F: Future>(limit: Duration, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut ticket = None;
    poll_fn(|task| {
        if let Poll::Ready(done) = work.as_mut().poll(task) {
            return Poll::Ready(Some(done));
        }
        let ticket = ticket.get_or_insert_with(|| {
            let ticket = Arc::<Ticket>::default();
            watch(limit, Arc::clone(&ticket) as Arc<dyn Overdue>);
            ticket
        });
        ticket.waker.register(task.waker());
        if ticket.late.load(SeqCst) { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// Has `awaited` told when it is `limit` old, unless nobody else holds it by then. Needs a tokio
/// runtime.
pub(crate) fn watch(limit: Duration, awaited: Arc<dyn Overdue>) {
    REGISTER.with_borrow(|register| register.add(limit, awaited));
}

/// Something that is waited for; dropped on its side when done.
pub(crate) trait Overdue: Send + Sync {
    /// Ends the wait.
    fn late(&self);
}

#[derive(Default)]
struct Ticket {
    late: AtomicBool,
    waker: AtomicWaker,
}

impl Overdue for Ticket {
    fn late(&self) {
        self.late.store(true, SeqCst);
        self.waker.wake();
    }
}

/// What one thread waits for.
#[derive(Default)]
struct Register {
    waiting: Mutex<Waiting>,
    /// Tells the task of a limit that is in use again.
    in_use: Notify,
}

#[derive(Default)]
struct Waiting {
    limits: Vec<Ages>,
    /// Whether there is a task that moves them on.
    attended: bool,
}

/// What has the same limit, by age.
struct Ages {
    limit: Duration,
    /// The oldest first; there is always one.
    steps: VecDeque<Vec<Arc<dyn Overdue>>>,
    /// When all are a step older; `None` while there is nothing.
    next: Option<Instant>,
}

impl Register {
    #[expect(clippy::disallowed_methods, reason = "it serves all actors of a thread and no one's")]
    fn add(self: &Arc<Self>, limit: Duration, awaited: Arc<dyn Overdue>) {
        let mut waiting = self.waiting();
        let ages = waiting.ages(limit);
        ages.add(awaited);
        if ages.next.is_some() {
            return;
        }
        ages.next = Some(Instant::now() + limit / STEPS);
        match std::mem::replace(&mut waiting.attended, true) {
            true => self.in_use.notify_one(),
            false => drop(tokio::spawn(attend(Present(Arc::clone(self))))),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Waiting {
    fn ages(&mut self, limit: Duration) -> &mut Ages {
        let at = self.limits.iter().position(|known| known.limit == limit);
        let at = at.unwrap_or_else(|| {
            self.limits.push(Ages { limit, steps: VecDeque::from([Vec::new()]), next: None });
            self.limits.len() - 1
        });
        &mut self.limits[at]
    }

    /// Moves on what is due at `now`; returns when to do so again, if anything is left.
    fn move_on(&mut self, now: Instant) -> Option<Instant> {
        let due = |ages: &&mut Ages| ages.next.is_some_and(|next| next <= now);
        self.limits.iter_mut().filter(due).for_each(|ages| ages.step(now));
        self.limits.iter().filter_map(|ages| ages.next).min()
    }
}

impl Ages {
    fn add(&mut self, awaited: Arc<dyn Overdue>) {
        let Some(youngest) = self.steps.back_mut() else { return };
        if youngest.len() == youngest.capacity() {
            // Most are done by now: a list grows only with what is not.
            youngest.retain(is_awaited);
            youngest.reserve(youngest.len().max(64));
        }
        youngest.push(awaited);
    }

    fn step(&mut self, now: Instant) {
        // What is as old as the limit has been moved on by each step since its first.
        if self.steps.len() > STEPS as usize
            && let Some(oldest) = self.steps.pop_front()
        {
            oldest.into_iter().filter(is_awaited).for_each(|awaited| awaited.late());
        }
        self.steps.iter_mut().for_each(|step| step.retain(is_awaited));
        let idle = self.steps.iter().all(Vec::is_empty);
        self.next = (!idle).then(|| now + self.limit / STEPS);
        self.steps.push_back(Vec::new());
        if idle {
            self.steps.truncate(1);
        }
    }
}

fn is_awaited(awaited: &Arc<dyn Overdue>) -> bool {
    Arc::strong_count(awaited) > 1
}

/// Says, when the task ends with its runtime, that there is none any more.
struct Present(Arc<Register>);

impl Drop for Present {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.attended = false;
        waiting.limits.clear();
    }
}

async fn attend(present: Present) {
    let register = &present.0;
    loop {
        // Bound first: the lock is not to be held over what follows.
        let next = register.waiting().move_on(Instant::now());
        let in_use = register.in_use.notified();
        match next {
            Some(next) => tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = in_use => {}
            },
            None => in_use.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(test);
    }

    /// Twice, for a runtime takes the task with it that the next one needs.
    #[test]
    fn what_is_late_is_given_up_not_too_early_and_not_much_too_late() {
        let limit = Duration::from_millis(80);
        for _ in 0..2 {
            on(async {
                let asked = Instant::now();
                assert_eq!(within(limit, std::future::pending::<()>()).await, None);
                assert!(asked.elapsed() >= limit);
                assert!(asked.elapsed() < limit * 5);
            });
        }
    }

    #[test]
    fn what_is_done_in_time_is_not_kept() {
        on(async {
            let limit = Duration::from_secs(3600);
            for number in 0..10_000 {
                let soon = async {
                    tokio::task::yield_now().await;
                    number
                };
                assert_eq!(within(limit, soon).await, Some(number));
            }
            let kept = REGISTER.with_borrow(|register| {
                register.waiting().ages(limit).steps.iter().map(Vec::len).sum::<usize>()
            });
            assert!(kept < 200, "{kept} are kept");
        });
    }

    #[test]
    fn limits_of_all_lengths_run_side_by_side() {
        on(async {
            let hour = within(Duration::from_secs(3600), std::future::pending::<()>());
            let moment = within(Duration::from_millis(20), std::future::pending::<()>());
            tokio::select! {
                _ = hour => panic!("an hour has not passed"),
                late = moment => assert_eq!(late, None),
            }
        });
    }
}
