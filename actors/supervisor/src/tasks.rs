//! The number of tasks, for tests that look for those that failures leave behind.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static TASKS: AtomicUsize = AtomicUsize::new(0);

/// Returns how many tasks of this process were begun through this crate and have not ended: actors,
/// their timers and background work, and [detached](crate::spawn_detached) work.
pub fn live_tasks() -> usize {
    TASKS.load(Relaxed)
}

/// Counts `work` as a task until it ends or is dropped.
pub(crate) fn counted(work: impl Future<Output = ()>) -> impl Future<Output = ()> {
    struct Counted;

    impl Drop for Counted {
        fn drop(&mut self) {
            TASKS.fetch_sub(1, Relaxed);
        }
    }

    TASKS.fetch_add(1, Relaxed);
    let counted = Counted;
    async move {
        let _counted = counted;
        work.await;
    }
}
