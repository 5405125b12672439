//! The moment in which NATS is reached, for the first time or again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Reached(Arc<Notify>);

impl Reached {
    pub(crate) fn tell(&self) {
        self.0.notify_waiters();
    }

    /// Waits for it, but for no longer than `at_most`. What was told before the call has passed.
    pub(crate) async fn within(&self, at_most: Duration) {
        let _ = timeout(at_most, self.0.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_hear_of_it_and_nobody_waits_longer_than_asked() {
        let (reached, start) = (Reached::default(), Instant::now());
        let second = Duration::from_secs(1);
        reached.tell();
        let waits = async || {
            reached.within(second * 3).await;
            start.elapsed()
        };
        let told = async {
            tokio::time::sleep(second).await;
            reached.tell();
        };
        let (one, other, ()) = tokio::join!(waits(), waits(), told);
        assert_eq!((one, other), (second, second));
        assert_eq!(waits().await, second * 4);
    }
}
