//! How long to leave the agent alone after a failure.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::time;

use crate::chain::chain;
use crate::https::CallError;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(15);

/// The longest that a server's own wish is followed.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// Pauses that double with every failure in a row.
#[derive(Debug)]
pub(super) struct Pause {
    next: Duration,
}

impl Default for Pause {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Pause {
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Logs that `call` failed and waits until it may be tried again.
    pub(super) async fn after(&mut self, call: &str, error: &CallError) {
        let pause = self.grow(error.retry_after(), random());
        log::warn!("{call} failed, next attempt in {} ms: {}", pause.as_millis(), chain(error));
        time::sleep(pause).await;
    }

    /// Returns the next pause: what the server asked for or what is due, and up to half as much
    /// again so that many instances do not come back at the same moment. `chance` is in 0..1.
    fn grow(&mut self, asked: Option<Duration>, chance: f64) -> Duration {
        let due = self.next.max(asked.unwrap_or_default().min(LONGEST_ASKED));
        self.next = (self.next * 2).min(LONGEST);
        due + due.mul_f64(chance / 2.0)
    }
}

/// Calls until it succeeds or is refused for good.
pub(super) async fn until_answered<C, F>(name: &str, mut call: C)
where
    C: FnMut() -> F,
    F: Future<Output = Result<(), CallError>>,
{
    let mut pause = Pause::default();
    loop {
        match call().await {
            Ok(()) => return,
            Err(error) if error.is_transient() => pause.after(name, &error).await,
            Err(error) => {
                log::error!("{name} was refused: {}", chain(&error));
                return;
            }
        }
    }
}

fn random() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness the pauses are merely regular.
    let _ = SystemRandom::new().fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_start_over() {
        let mut pause = Pause::default();
        let pauses: Vec<_> = (0..10).map(|_| pause.grow(None, 0.0)).collect();
        assert!(pauses.is_sorted());
        assert_eq!((pauses[0], pauses[1], pauses[9]), (FIRST, FIRST * 2, LONGEST));
        pause.reset();
        assert_eq!(pause.grow(None, 0.0), FIRST);
    }

    #[test]
    fn a_pause_is_never_shorter_than_asked_nor_endless() {
        let asked = Some(Duration::from_secs(5));
        assert_eq!(Pause::default().grow(asked, 0.0), Duration::from_secs(5));
        let endless = Some(Duration::from_secs(86_400));
        assert_eq!(Pause::default().grow(endless, 0.0), LONGEST_ASKED);
    }

    #[test]
    fn chance_spreads_pauses() {
        assert_eq!(Pause::default().grow(None, 0.5), FIRST.mul_f64(1.25));
        assert!((0..100).map(|_| random()).all(|chance| (0.0..1.0).contains(&chance)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_repeated_until_it_is_answered_or_refused() {
        let refusal =
            |status| CallError::Refused { status, retry_after: None, message: "no".into() };
        for end in [Ok(()), Err(refusal(404))] {
            let mut answers = vec![end, Err(CallError::NotPinned), Err(refusal(503))];
            until_answered("call", || std::future::ready(answers.pop().unwrap())).await;
            assert!(answers.is_empty());
        }
    }
}
