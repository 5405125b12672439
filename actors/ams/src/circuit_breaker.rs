//! Spares a sick AMS, and spares our callers from waiting for it: a bound on concurrent requests,
//! the pauses that AMS asks for, and a breaker that refuses at once what would fail anyway.

use std::time::Duration;

use parking_lot::Mutex;
use stream_supervisor::Backoff;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::error::AmsError;

/// Requests at the same time; further ones wait.
const MAX_CONCURRENT_CALLS: usize = 64;

/// Requests at the same time that AMS answers only when an operation has ended.
const MAX_CONCURRENT_POLLS: usize = 32;

/// How AMS answers a request. Each kind has permits of its own: a wave of deletions that take
/// seconds keeps no launch waiting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CallKind {
    /// As soon as it can.
    Immediate,
    /// When an operation has ended.
    LongPoll,
}

/// Failures in a row that open the breaker.
const FAILURE_THRESHOLD: u32 = 5;

/// The longest pause that AMS may ask for; longer ones count as this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// A request without an answer for so long has AMS probed.
const STALL_AFTER: Duration = Duration::from_secs(2);

/// Pauses before a refused request is repeated.
const RETRY: Backoff = Backoff::new(Duration::from_millis(200), MAX_RETRY_AFTER);

/// Admits requests to AMS. Probes pass it, and the first good one closes it.
pub(crate) struct CircuitBreaker {
    calls: Semaphore,
    polls: Semaphore,
    state: Mutex<State>,
    probe_request: Notify,
    /// When the latest probe that was answered began.
    last_probe: Mutex<Option<Instant>>,
    /// Told of each answered probe.
    probed: Notify,
}

impl CircuitBreaker {
    pub(crate) fn new() -> Self {
        Self {
            calls: Semaphore::new(MAX_CONCURRENT_CALLS),
            polls: Semaphore::new(MAX_CONCURRENT_POLLS),
            state: Mutex::default(),
            probe_request: Notify::new(),
            last_probe: Mutex::default(),
            probed: Notify::new(),
        }
    }

    /// Waits for the permit of a request.
    ///
    /// # Errors
    ///
    /// Refuses at once while the breaker is open, and when AMS asked to be left alone beyond
    /// `deadline`. [`AmsError::TimedOut`] when no permit is free until then.
    pub(crate) async fn acquire(
        &self,
        kind: CallKind,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, AmsError> {
        let pause = self.state.lock().check(Instant::now())?;
        if !pause.is_zero() && Instant::now() + pause > deadline {
            let text = "it asked to be left alone for a while".to_owned();
            return Err(AmsError::Busy(text));
        }
        tokio::time::sleep(pause).await;
        let permits = match kind {
            CallKind::Immediate => &self.calls,
            CallKind::LongPoll => &self.polls,
        };
        let turn = tokio::time::timeout_at(deadline, permits.acquire());
        let turn = turn.await.map_err(|_| AmsError::TimedOut)?;
        Ok(turn.expect("the semaphore is never closed"))
    }

    /// Notes that AMS answered, which closes the breaker.
    pub(crate) fn answered(&self) {
        self.state.lock().failures = 0;
    }

    /// Notes that AMS did not answer, because of `cause`.
    pub(crate) fn failed(&self, cause: &AmsError) {
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_add(1);
        state.cause = match cause {
            AmsError::Unreachable(cause) => cause.clone(),
            other => other.to_string(),
        };
    }

    /// Has all requests wait for `pause`, as AMS asks.
    pub(crate) fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause.min(MAX_RETRY_AFTER);
        let mut state = self.state.lock();
        state.paused_until = state.paused_until.max(Some(until));
    }

    /// Requests a probe, because what is known of AMS may be wrong.
    pub(crate) fn request_probe(&self) {
        self.probe_request.notify_one();
    }

    /// Waits until a probe is requested.
    pub(crate) async fn probe_requested(&self) {
        self.probe_request.notified().await;
    }

    /// Notes that AMS answered a probe that began at `since`.
    pub(crate) fn record_probe(&self, since: Instant) {
        *self.last_probe.lock() = Some(since);
        // In the order in which they began to wait.
        self.probed.notify_waiters();
    }

    /// Returns when a request that began now, and still has no answer, will have none: AMS has
    /// answered a probe that began [`STALL_AFTER`] later. Requests that probe.
    pub(crate) async fn stalled(&self) {
        tokio::time::sleep(STALL_AFTER).await;
        let stalled = Instant::now();
        self.request_probe();
        loop {
            let probed = self.probed.notified();
            if self.last_probe.lock().is_some_and(|since| since >= stalled) {
                return;
            }
            probed.await;
        }
    }
}

/// How AMS behaved lately.
#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    cause: String,
    paused_until: Option<Instant>,
}

impl State {
    /// Returns how long a request has to wait, or why it is refused.
    fn check(&self, now: Instant) -> Result<Duration, AmsError> {
        if self.failures >= FAILURE_THRESHOLD {
            return Err(AmsError::Unreachable(self.cause.clone()));
        }
        Ok(self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now)))
    }
}

/// Returns how long to wait before a request is repeated that AMS refused for now, for the
/// `attempt`-th time; `asked` is what AMS asks for.
pub(crate) fn retry_delay(attempt: u32, asked: Option<Duration>) -> Duration {
    let backoff = RETRY.after(attempt.saturating_add(1));
    // What AMS asks for is kept to; those who were refused together still come back apart.
    asked.map_or(backoff, |asked| asked.min(MAX_RETRY_AFTER) + backoff / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_opens_after_failures_in_a_row_and_closes_with_the_first_answer() {
        let breaker = CircuitBreaker::new();
        let is_open = || breaker.state.lock().check(Instant::now()).is_err();
        for _ in 1..FAILURE_THRESHOLD {
            breaker.failed(&AmsError::TimedOut);
        }
        assert!(!is_open());
        breaker.answered();
        for _ in 0..FAILURE_THRESHOLD {
            assert!(!is_open());
            breaker.failed(&AmsError::Unreachable("it cannot be reached: refused".to_owned()));
        }
        let Err(AmsError::Unreachable(cause)) = breaker.state.lock().check(Instant::now()) else {
            panic!("it is closed")
        };
        assert_eq!(cause, "it cannot be reached: refused");
        breaker.answered();
        assert!(!is_open());
    }

    #[tokio::test]
    async fn who_cannot_wait_as_long_as_ams_asks_is_refused_at_once() {
        let breaker = CircuitBreaker::new();
        breaker.pause(Duration::from_secs(20));
        breaker.pause(Duration::from_secs(1));
        let started = Instant::now();
        let refused = breaker.acquire(CallKind::Immediate, started + Duration::from_secs(10)).await;
        assert!(matches!(refused, Err(AmsError::Busy(_))));
        assert!(started.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn no_more_calls_than_allowed_go_on_at_once() {
        let breaker = CircuitBreaker::new();
        let mut turns = Vec::new();
        for _ in 0..MAX_CONCURRENT_CALLS {
            turns.push(
                breaker
                    .acquire(CallKind::Immediate, Instant::now() + MAX_RETRY_AFTER)
                    .await
                    .expect("a turn"),
            );
        }
        let late = breaker.acquire(CallKind::Immediate, Instant::now()).await;
        assert!(matches!(late, Err(AmsError::TimedOut)));
        let poll = breaker.acquire(CallKind::LongPoll, Instant::now()).await;
        assert!(poll.is_ok(), "those who wait for operations take no turn of others");
        drop(turns.pop());
        assert!(
            breaker.acquire(CallKind::Immediate, Instant::now() + MAX_RETRY_AFTER).await.is_ok()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_overtaken_by_a_probe_that_began_later_and_by_no_other() {
        let breaker = CircuitBreaker::new();
        let call = breaker.stalled();
        tokio::pin!(call);
        let before = Instant::now();
        breaker.record_probe(before);
        let waited = tokio::time::timeout(10 * STALL_AFTER, &mut call).await;
        assert!(waited.is_err(), "an earlier probe says nothing of the call");
        breaker.probe_requested().await;
        breaker.record_probe(Instant::now());
        call.await;
    }

    #[test]
    fn pauses_grow_are_spread_and_never_shorter_than_ams_asks() {
        assert!(retry_delay(0, None) <= RETRY.first && retry_delay(0, None) >= RETRY.first / 2);
        assert!(retry_delay(3, None) > retry_delay(0, None));
        let asked = Duration::from_secs(2);
        assert!(retry_delay(0, Some(asked)) >= asked);
        assert!(retry_delay(0, Some(Duration::MAX)) < MAX_RETRY_AFTER * 2);
    }
}
