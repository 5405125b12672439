//! Growing pauses between attempts, and the loop around an attempt.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Pauses that double with every failure in a row, from [`first`](Self::first) up to
/// [`max`](Self::max).
///
/// A pause is shortened by up to a half at random ("equal jitter"), so that units that failed
/// together do not come back together. The caller counts the failures in a row and starts at zero
/// again after a success:
///
/// ```
/// use std::time::Duration;
/// use stream_supervisor::Backoff;
///
/// const RECONNECT: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(3));
///
/// assert_eq!(RECONNECT.after(0), Duration::ZERO);
/// assert!(RECONNECT.after(1) <= RECONNECT.first);
/// assert!(RECONNECT.after(9) >= RECONNECT.max / 2);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backoff {
    /// The longest pause after the first failure.
    pub first: Duration,
    /// The longest pause of all.
    pub max: Duration,
}

impl Backoff {
    /// What a caller waits for a service that is restarting or reconnecting.
    pub const SHORT: Self = Self::new(Duration::from_millis(100), Duration::from_secs(2));

    /// Makes a backoff whose longest pauses grow from `first` to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// Returns the jittered pause after `failures` failures in a row; none after no failure.
    pub fn after(self, failures: u32) -> Duration {
        self.pause(failures, fastrand::f64())
    }

    /// Returns the pause after `failures` failures in a row. `random`, between 0 and 1, says how
    /// much of the half that jitter may take off is taken off.
    pub fn pause(self, failures: u32, random: f64) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let pause = self.first.saturating_mul(2u32.saturating_pow(doublings)).min(self.max);
        shortened(pause, random)
    }

    /// Repeats `attempt` until it succeeds, for as long as its failures are `transient`, with a
    /// growing pause after each. No attempt begins later than `limit` after the call.
    ///
    /// # Errors
    ///
    /// Returns the error of the last attempt: the first one that is not transient, or whichever
    /// came when `limit` had passed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the attempt in progress; nothing else is lost.
    pub async fn retry_while<T, E>(
        self,
        limit: Duration,
        transient: impl Fn(&E) -> bool,
        mut attempt: impl AsyncFnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let started = Instant::now();
        let mut failures = 0u32;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let left = limit.saturating_sub(started.elapsed());
            if !transient(&error) || left.is_zero() {
                return Err(error);
            }
            failures = failures.saturating_add(1);
            sleep(self.after(failures).min(left)).await;
        }
    }
}

/// Repeats `attempt` as [`Backoff::retry_while`] does, with the pauses of [`Backoff::SHORT`].
///
/// # Errors
///
/// Returns the error of the last attempt.
pub async fn retry_while<T, E>(
    limit: Duration,
    transient: impl Fn(&E) -> bool,
    attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    Backoff::SHORT.retry_while(limit, transient, attempt).await
}

/// Returns between half of `pause` and all of it, at random: for periodic work that many units do
/// and that must not fall together.
pub fn jittered(pause: Duration) -> Duration {
    shortened(pause, fastrand::f64())
}

fn shortened(pause: Duration, random: f64) -> Duration {
    pause.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = [0, 1, 2, 3, 4, u32::MAX].map(|failures| BACKOFF.pause(failures, 0.0));
        assert_eq!(pauses, [0, 1, 2, 4, 5, 5].map(Duration::from_secs));
    }

    #[test]
    fn jitter_takes_off_a_half_at_most() {
        assert_eq!(BACKOFF.pause(3, 1.0), Duration::from_secs(2));
        assert_eq!(BACKOFF.pause(3, 7.0), Duration::from_secs(2), "whatever the source says");
        for failures in 0..100 {
            let longest = BACKOFF.pause(failures, 0.0);
            assert!((longest / 2..=longest).contains(&BACKOFF.after(failures)));
        }
        let spread: Vec<_> = (0..100).map(|_| jittered(LONG)).collect();
        assert!(spread.iter().all(|pause| (LONG / 2..=LONG).contains(pause)));
        assert!(spread.iter().any(|pause| *pause != spread[0]), "{spread:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_transient_failure_is_tried_again_and_another_is_not() {
        let mut attempts = 0;
        let transient = |error: &&str| *error == "away";
        let done = retry_while(Duration::MAX, transient, async || {
            attempts += 1;
            if attempts < 4 { Err("away") } else { Ok(7) }
        });
        assert_eq!(done.await, Ok(7));
        assert_eq!(attempts, 4);

        let failed = retry_while(Duration::MAX, transient, async || {
            attempts += 1;
            Err::<(), _>("broken")
        });
        assert_eq!(failed.await, Err("broken"));
        assert_eq!(attempts, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn no_attempt_begins_after_the_limit() {
        let started = Instant::now();
        let mut attempts = 0;
        let limit = Duration::from_secs(10);
        let failed = BACKOFF.retry_while(
            limit,
            |_| true,
            async || {
                attempts += 1;
                Err::<(), _>(started.elapsed())
            },
        );
        let last = failed.await.expect_err("it never succeeds");
        assert!(last >= limit && last < limit + Duration::from_millis(50), "{last:?}");
        assert!((4..=8).contains(&attempts), "{attempts}");

        let none = retry_while(Duration::ZERO, |_| true, async || Err::<(), _>("away")).await;
        assert_eq!(none, Err("away"));
    }
}
