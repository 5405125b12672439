//! What keeps a sick AMS from being worn out, and our callers from waiting for it: a bound on calls
//! at the same time, the pauses that AMS asks for, and a breaker that refuses at once what would
//! fail anyway.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};

use crate::error::AmsError;

/// How many calls go on at the same time; further ones wait for their turn.
const AT_ONCE: usize = 64;

/// So many failures in a row open the breaker.
const TOLERANCE: u32 = 5;

/// No pause that AMS asks for counts for longer.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

/// A call without an answer for so long is suspicious.
const STALL: Duration = Duration::from_secs(2);

/// The first pause before a refused call is repeated; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The way to AMS. Looks at it go past the breaker: they close it.
pub(crate) struct Gate {
    slots: Semaphore,
    health: Mutex<Health>,
    doubt: Notify,
    /// When the latest look that was answered began.
    spoke: watch::Sender<Option<Instant>>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            slots: Semaphore::new(AT_ONCE),
            health: Mutex::default(),
            doubt: Notify::new(),
            spoke: watch::Sender::new(None),
        }
    }

    /// Waits for the turn of a call. Refuses at once while the breaker is open, and when AMS wants
    /// to be left alone beyond `deadline`.
    pub(crate) async fn enter(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, AmsError> {
        let hold = self.health().verdict(Instant::now())?;
        if !hold.is_zero() && Instant::now() + hold > deadline {
            let text = "it asked to be left alone for a while".to_owned();
            return Err(AmsError::Busy(text));
        }
        tokio::time::sleep(hold).await;
        let turn = tokio::time::timeout_at(deadline.into(), self.slots.acquire());
        let turn = turn.await.map_err(|_| AmsError::TimedOut)?;
        Ok(turn.expect("the semaphore is never closed"))
    }

    /// AMS answered.
    pub(crate) fn answered(&self) {
        self.health().failures = 0;
    }

    /// AMS did not answer, because of `cause`.
    pub(crate) fn failed(&self, cause: &AmsError) {
        let mut health = self.health();
        health.failures = health.failures.saturating_add(1);
        health.cause = match cause {
            AmsError::Away(cause) => cause.clone(),
            other => other.to_string(),
        };
    }

    /// AMS wants to be left alone for a while, by everybody.
    pub(crate) fn hold(&self, pause: Duration) {
        let until = Instant::now() + pause.min(LONGEST_HOLD);
        let mut health = self.health();
        health.hold = health.hold.max(Some(until));
    }

    /// Asks for a look at AMS: what is known of it may be wrong.
    pub(crate) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Waits until a look is asked for.
    pub(crate) async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// AMS answered a look that began at `since`.
    pub(crate) fn spoke(&self, since: Instant) {
        self.spoke.send_replace(Some(since));
    }

    /// Returns when a call that began now, and still has no answer, will have none: AMS has
    /// answered a look that began a while after it. A call that takes so long has one taken.
    pub(crate) async fn overtaken(&self) {
        tokio::time::sleep(STALL).await;
        let stalled = Instant::now();
        self.doubt();
        let mut spoke = self.spoke.subscribe();
        let later = spoke.wait_for(|since| since.is_some_and(|since| since >= stalled));
        later.await.expect("the sender is in self");
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How AMS was lately.
#[derive(Debug, Default)]
struct Health {
    /// In a row.
    failures: u32,
    cause: String,
    hold: Option<Instant>,
}

impl Health {
    /// Returns how long a call has to wait, or why it is not made.
    fn verdict(&self, now: Instant) -> Result<Duration, AmsError> {
        if self.failures >= TOLERANCE {
            return Err(AmsError::Away(self.cause.clone()));
        }
        Ok(self.hold.map_or(Duration::ZERO, |until| until.saturating_duration_since(now)))
    }
}

/// How long to wait before a call that AMS refused for now is made again, the `attempt`-th time.
pub(crate) fn pause(attempt: u32, asked: Option<Duration>) -> Duration {
    let backoff = jittered(FIRST_PAUSE.saturating_mul(2u32.saturating_pow(attempt)));
    // What AMS asks for is kept to; those who were refused together still come back apart.
    asked.map_or(backoff, |asked| asked.min(LONGEST_HOLD) + backoff / 4)
}

/// Returns a duration between half of `pause` and all of it.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness there is none; everybody else would have failed before.
    let _ = SystemRandom::new().fill(&mut byte);
    pause.mul_f64(0.5 + f64::from(byte[0]) / 510.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_opens_after_failures_in_a_row_and_closes_with_the_first_answer() {
        let gate = Gate::new();
        let is_open = || gate.health().verdict(Instant::now()).is_err();
        for _ in 1..TOLERANCE {
            gate.failed(&AmsError::TimedOut);
        }
        assert!(!is_open());
        gate.answered();
        for _ in 0..TOLERANCE {
            assert!(!is_open());
            gate.failed(&AmsError::Away("it cannot be reached: refused".to_owned()));
        }
        let Err(AmsError::Away(cause)) = gate.health().verdict(Instant::now()) else {
            panic!("it is closed")
        };
        assert_eq!(cause, "it cannot be reached: refused");
        gate.answered();
        assert!(!is_open());
    }

    #[tokio::test]
    async fn who_cannot_wait_as_long_as_ams_asks_is_refused_at_once() {
        let gate = Gate::new();
        gate.hold(Duration::from_secs(20));
        gate.hold(Duration::from_secs(1));
        let started = Instant::now();
        let refused = gate.enter(started + Duration::from_secs(10)).await;
        assert!(matches!(refused, Err(AmsError::Busy(_))));
        assert!(started.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn no_more_calls_than_allowed_go_on_at_once() {
        let gate = Gate::new();
        let mut turns = Vec::new();
        for _ in 0..AT_ONCE {
            turns.push(gate.enter(Instant::now() + LONGEST_HOLD).await.expect("a turn"));
        }
        let late = gate.enter(Instant::now()).await;
        assert!(matches!(late, Err(AmsError::TimedOut)));
        drop(turns.pop());
        assert!(gate.enter(Instant::now() + LONGEST_HOLD).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_overtaken_by_a_look_that_began_later_and_by_no_other() {
        let gate = Gate::new();
        let call = gate.overtaken();
        tokio::pin!(call);
        let before = Instant::now();
        gate.spoke(before);
        let waited = tokio::time::timeout(10 * STALL, &mut call).await;
        assert!(waited.is_err(), "an earlier look says nothing of the call");
        gate.doubted().await;
        gate.spoke(Instant::now());
        call.await;
    }

    #[test]
    fn pauses_grow_are_spread_and_never_shorter_than_ams_asks() {
        assert!(pause(0, None) <= FIRST_PAUSE && pause(0, None) >= FIRST_PAUSE / 2);
        assert!(pause(3, None) > pause(0, None));
        let asked = Duration::from_secs(2);
        assert!(pause(0, Some(asked)) >= asked);
        assert!(pause(0, Some(Duration::MAX)) < LONGEST_HOLD * 2);
    }
}
