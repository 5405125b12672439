//! The order to drain: the service hands its work to others and ends, when that is done or when its
//! time is up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Whether the service is to drain and end. Everybody who acts on it holds a clone.
#[derive(Clone)]
pub struct Drain {
    until: Arc<watch::Sender<Option<Instant>>>,
    left: Arc<AtomicUsize>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { until: Arc::new(watch::Sender::new(None)), left: Arc::default() }
    }
}

impl Drain {
    /// Orders the service to end within `deadline`. A later order replaces an earlier one.
    pub fn begin(&self, deadline: Duration) {
        // Nobody waits for a deadline beyond what can be counted.
        let now = Instant::now();
        let until = now.checked_add(deadline).unwrap_or(now);
        log::info!("draining, for {} s at most", deadline.as_secs());
        self.until.send_replace(Some(until));
    }

    /// Withdraws the order: the service goes on as before. Returns whether there was one.
    pub fn cancel(&self) -> bool {
        let given = self.until.send_replace(None).is_some();
        if given {
            log::info!("the drain is cancelled, serving as before");
        }
        given
    }

    /// Follows when the service ends; `None` while it serves.
    pub fn watch(&self) -> watch::Receiver<Option<Instant>> {
        self.until.subscribe()
    }

    /// Whether the service is draining.
    pub fn is_draining(&self) -> bool {
        self.until.borrow().is_some()
    }

    /// How much time is left to drain; `None` while the service serves.
    pub fn time_left(&self) -> Option<Duration> {
        self.until.borrow().map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// Records how many items are still to be handed over, for operators who wait.
    pub fn set_remaining(&self, left: usize) {
        self.left.store(left, Relaxed);
    }

    /// How many items are still to be handed over, as recorded last.
    pub fn remaining(&self) -> usize {
        self.left.load(Relaxed)
    }

    /// Returns when an order was given and carried out: `drained` has returned, or the time is up.
    /// An order that is withdrawn meanwhile does not count.
    pub async fn completed(&self, drained: impl AsyncFn()) {
        let mut orders = self.watch();
        loop {
            let given = orders.wait_for(Option::is_some).await.ok().and_then(|until| *until);
            // The sender is ours, and stays.
            let Some(until) = given else { return };
            tokio::select! {
                biased;
                // There is another deadline, or none.
                _ = orders.changed() => {}
                () = drained() => return log::info!("drained"),
                () = sleep_until(until) => {
                    return log::warn!("the time to drain is up, {} left", self.remaining());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn it_is_over_when_all_is_drained_or_the_time_is_up_and_not_before_the_order() {
        let drain = Drain::default();
        assert!(timeout(LONG, drain.completed(async || ready(()).await)).await.is_err());
        drain.begin(LONG);
        assert!(timeout(SHORT, drain.completed(async || ready(()).await)).await.is_ok());
        assert!(timeout(LONG / 2, drain.completed(async || pending().await)).await.is_err());
        assert!(timeout(LONG, drain.completed(async || pending().await)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_is_taken_back_or_changed_counts_no_more() {
        let drain = Drain::default();
        drain.begin(SHORT);
        let over = drain.completed(async || pending().await);
        let changes = async {
            assert!(drain.cancel() && !drain.cancel());
            tokio::time::sleep(LONG).await;
            drain.begin(LONG);
            drain.begin(SHORT);
            tokio::time::sleep(LONG).await;
        };
        tokio::select! {
            biased;
            () = changes => panic!("the second order was carried out long ago"),
            () = over => assert!(drain.is_draining()),
        }
    }

    #[test]
    fn a_senseless_deadline_is_no_panic() {
        let drain = Drain::default();
        drain.begin(Duration::MAX);
        assert!(drain.is_draining());
    }
}
