//! What is asked of agents once in a while, however many want to know.

use std::sync::Arc;
use std::time::Duration;

use stream_protocol::Refusal;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What was told last, and when it was asked for. Whoever asks holds the lock, so that others wait
/// for the same answers. Clones are the same.
pub(crate) struct Latest<T> {
    good_for: Duration,
    told: Arc<Mutex<Option<Answer<T>>>>,
}

struct Answer<T> {
    asked_at: Instant,
    value: Arc<T>,
}

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Self {
        Self { good_for: self.good_for, told: Arc::clone(&self.told) }
    }
}

impl<T> Latest<T> {
    /// What is told is answered again for `good_for`.
    pub(crate) fn good_for(good_for: Duration) -> Self {
        Self { good_for, told: Arc::default() }
    }

    /// Has everything asked again.
    pub(crate) async fn forget(&self) {
        *self.told.lock().await = None;
    }

    /// Returns what was told a moment ago, or what `ask` is told now.
    pub(crate) async fn get<F>(&self, ask: impl FnOnce() -> F) -> Result<Arc<T>, Refusal>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let mut latest = self.told.lock().await;
        if let Some(Answer { asked_at, value }) = &*latest
            && asked_at.elapsed() < self.good_for
        {
            return Ok(Arc::clone(value));
        }
        let asked_at = Instant::now();
        let value = Arc::new(ask().await?);
        *latest = Some(Answer { asked_at, value: Arc::clone(&value) });
        Ok(value)
    }

    /// Returns what was told a moment ago. Where that has grown old, and nobody asks yet, `begin`
    /// is to have somebody ask, who may take a while.
    pub(crate) fn peek(&self, begin: impl FnOnce()) -> Option<Arc<T>> {
        // Who holds the lock asks.
        let latest = self.told.try_lock().ok()?;
        let fresh = latest.as_ref().filter(|last| last.asked_at.elapsed() < self.good_for);
        if fresh.is_none() {
            begin();
        }
        fresh.map(|last| Arc::clone(&last.value))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;
    use stream_protocol::RefusalCode;

    use super::*;

    const GOOD_FOR: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn who_asks_a_moment_later_gets_the_same_and_a_failure_is_not_kept() {
        let (latest, asked) = (Latest::good_for(GOOD_FOR), Cell::new(0));
        let ask = async || {
            asked.set(asked.get() + 1);
            tokio::task::yield_now().await;
            Ok(asked.get())
        };
        let all = join_all((0..100).map(|_| latest.get(ask))).await;
        assert!(all.iter().all(|told| told.as_ref().is_ok_and(|told| **told == 1)));
        tokio::time::advance(GOOD_FOR).await;
        let away = async || Err(Refusal::new(RefusalCode::Unavailable, "NATS is away"));
        assert!(latest.get(away).await.is_err());
        assert_eq!(*latest.get(ask).await.unwrap(), 2);
        latest.forget().await;
        assert_eq!(*latest.get(ask).await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_only_peeks_waits_for_nobody_and_has_what_is_old_asked_again() {
        let (latest, begun) = (Latest::good_for(GOOD_FOR), Cell::new(0));
        let peek = || latest.peek(|| begun.set(begun.get() + 1)).map(|told| *told);
        assert_eq!((peek(), begun.get()), (None, 1));
        let asks = latest.get(async || {
            tokio::task::yield_now().await;
            assert_eq!(peek(), None, "somebody asks");
            Ok(7)
        });
        assert_eq!(*asks.await.unwrap(), 7);
        assert_eq!((peek(), begun.get()), (Some(7), 1));
        tokio::time::advance(GOOD_FOR).await;
        assert_eq!((peek(), begun.get()), (None, 2));
    }
}
