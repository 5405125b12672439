//! The order to drain: the service hands its work to others. Then it ends, when that is done or
//! when its time is up; or it stays, takes nothing, and can be taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// The pause between two looks at whether others take what is left of a service that stays.
const STAY_POLL: Duration = Duration::from_secs(1);

/// What a service that drains is to do in the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DrainOrder {
    /// To end when all is handed over, or at this time.
    EndBy(Instant),
    /// To hand over what it can for as long as the order holds, and stay.
    Stay,
}

/// Whether the service is to drain. Everybody who acts on it holds a clone.
#[derive(Clone)]
pub struct Drain {
    order: Arc<watch::Sender<Option<DrainOrder>>>,
    left: Arc<AtomicUsize>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { order: Arc::new(watch::Sender::new(None)), left: Arc::default() }
    }
}

impl Drain {
    /// Orders the service to end within `deadline`. A later order replaces an earlier one.
    pub fn begin(&self, deadline: Duration) {
        // Nobody waits for a deadline beyond what can be counted.
        let now = Instant::now();
        let until = now.checked_add(deadline).unwrap_or(now);
        log::info!("draining, for {} s at most", deadline.as_secs());
        self.order.send_replace(Some(DrainOrder::EndBy(until)));
    }

    /// Orders the service to hand its work over and to stay. An order to end holds over this one.
    pub fn begin_to_stay(&self) {
        let given = self.order.send_if_modified(|order| match order {
            None => order.replace(DrainOrder::Stay).is_none(),
            Some(_) => false,
        });
        if given {
            log::info!("draining, and staying until the order is taken back");
        }
    }

    /// Withdraws the order: the service goes on as before. Returns whether there was one.
    pub fn cancel(&self) -> bool {
        let given = self.order.send_replace(None).is_some();
        if given {
            log::info!("the drain is cancelled, serving as before");
        }
        given
    }

    /// Follows the order that holds; `None` while the service serves.
    pub fn watch(&self) -> watch::Receiver<Option<DrainOrder>> {
        self.order.subscribe()
    }

    /// The order that holds; `None` while the service serves.
    pub fn order(&self) -> Option<DrainOrder> {
        *self.order.borrow()
    }

    /// Whether the service is draining.
    pub fn is_draining(&self) -> bool {
        self.order().is_some()
    }

    /// Whether the service is draining and ends then.
    pub fn is_ending(&self) -> bool {
        matches!(self.order(), Some(DrainOrder::EndBy(_)))
    }

    /// How much time is left until the service ends; `None` while it serves or stays.
    pub fn time_left(&self) -> Option<Duration> {
        match self.order()? {
            DrainOrder::EndBy(until) => Some(until.saturating_duration_since(Instant::now())),
            DrainOrder::Stay => None,
        }
    }

    /// Records how many items are still to be handed over, for operators who wait.
    pub fn set_remaining(&self, left: usize) {
        self.left.store(left, Relaxed);
    }

    /// How many items are still to be handed over, as recorded last.
    pub fn remaining(&self) -> usize {
        self.left.load(Relaxed)
    }

    /// Returns when an order to end was given and carried out: `drained` has returned, or the time
    /// is up. An order that is withdrawn meanwhile does not count, and one to stay is carried out
    /// until another one comes.
    pub async fn completed(&self, drained: impl AsyncFn()) {
        let mut orders = self.watch();
        loop {
            let given = orders.wait_for(Option::is_some).await.ok().and_then(|order| *order);
            // The sender is ours, and stays.
            let Some(order) = given else { return };
            tokio::select! {
                biased;
                // There is another order, or none.
                _ = orders.changed() => {}
                ended = self.carry_out(order, &drained) => return ended,
            }
        }
    }

    /// Returns when the service has to end.
    async fn carry_out(&self, order: DrainOrder, drained: &impl AsyncFn()) {
        match order {
            DrainOrder::EndBy(until) => tokio::select! {
                biased;
                () = drained() => log::info!("drained"),
                () = sleep_until(until) => {
                    log::warn!("the time to drain is up, {} left", self.remaining());
                }
            },
            DrainOrder::Stay => loop {
                drained().await;
                // Who could take nothing then may be able to by now.
                sleep(STAY_POLL).await;
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
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

    #[tokio::test(start_paused = true)]
    async fn who_stays_hands_over_again_and_again_until_it_is_to_end() {
        let (drain, rounds) = (Drain::default(), Cell::new(0));
        let over = drain.completed(async || rounds.set(rounds.get() + 1));
        let changes = async {
            drain.begin_to_stay();
            assert!(drain.is_draining() && !drain.is_ending());
            sleep(2 * STAY_POLL).await;
            assert!(rounds.get() >= 2);
            assert_eq!(drain.time_left(), None);
            drain.cancel();
            let before = rounds.get();
            sleep(LONG).await;
            assert_eq!(rounds.get(), before);
            drain.begin(LONG);
            drain.begin_to_stay();
            assert!(drain.is_ending(), "the order to end holds");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = changes => panic!("it never ends by itself"),
            () = over => assert!(drain.is_ending()),
        }
    }

    #[test]
    fn a_senseless_deadline_is_no_panic() {
        let drain = Drain::default();
        drain.begin(Duration::MAX);
        assert!(drain.is_draining());
    }
}
