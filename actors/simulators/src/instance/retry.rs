//! Calls to the agent that are repeated until they are answered.

use std::time::Duration;

use stream_protocol::error_chain;
use stream_supervisor::Backoff;
use tokio::time;

use crate::https::CallError;

/// Pauses after failed calls.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));

/// The longest pause that a server may ask for; longer ones count as this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Counts the failures of one call in a row.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
}

impl Retry {
    /// Starts over after a success.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Logs that `call` failed and waits until it may be tried again.
    pub(super) async fn wait_after(&mut self, call: &str, error: &CallError) {
        let pause = self.next(error.retry_after());
        let (ms, cause) = (pause.as_millis() as u64, error_chain(error));
        log::warn!(pause_ms = ms, cause:% = cause; "{call} failed");
        time::sleep(pause).await;
    }

    /// Returns the next pause: what is due, and at least what the server `asked` for, so that many
    /// instances do not come back at the same moment.
    fn next(&mut self, asked: Option<Duration>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let backoff = BACKOFF.after(self.failures);
        asked.map_or(backoff, |asked| backoff.max(asked.min(MAX_RETRY_AFTER) + backoff / 4))
    }
}

/// Repeats `call` until it succeeds or is refused for good.
pub(super) async fn until_answered<C, F>(name: &str, mut call: C)
where
    C: FnMut() -> F,
    F: Future<Output = Result<(), CallError>>,
{
    let mut retry = Retry::default();
    loop {
        match call().await {
            Ok(()) => return,
            Err(error) if error.is_transient() => retry.wait_after(name, &error).await,
            Err(error) => {
                log::error!(cause:% = error_chain(&error); "{name} was refused");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_start_over() {
        let mut retry = Retry::default();
        let pauses: Vec<_> = (0..10).map(|_| retry.next(None)).collect();
        assert!(pauses[0] <= BACKOFF.first && pauses[9] >= BACKOFF.max / 2);
        assert!(pauses.iter().all(|pause| *pause <= BACKOFF.max));
        retry.reset();
        assert!(retry.next(None) <= BACKOFF.first);
    }

    #[test]
    fn a_pause_is_never_shorter_than_asked_nor_endless() {
        let asked = Duration::from_secs(5);
        assert!(Retry::default().next(Some(asked)) >= asked);
        let endless = Retry::default().next(Some(Duration::from_secs(86_400)));
        assert!(endless >= MAX_RETRY_AFTER && endless <= 2 * MAX_RETRY_AFTER);
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
