//! A second attempt beside one that stays unanswered: the one place where the client hedges.
//!
//! An AMS that was mute never answers what it was asked while it was mute, also when it speaks
//! again. Only another request shows that it is back, and only another request gets an answer.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::error::AmsError;

/// Makes an attempt, and another one beside it each time that `again` is done. Returns the first
/// answer, or the error of the last attempt once all have failed.
///
/// Every attempt may reach AMS, so a request must be idempotent. A launch is: AMS gives its name
/// only once.
///
/// # Cancel safety
///
/// Dropping the future drops all attempts; whether one took effect is not known then.
pub(crate) async fn hedged<T, F>(
    attempt: impl Fn() -> F,
    mut again: impl AsyncFnMut(),
) -> Result<T, AmsError>
where
    F: Future<Output = Result<T, AmsError>>,
{
    let mut attempts = FuturesUnordered::from_iter([attempt()]);
    loop {
        tokio::select! {
            biased;
            Some(answered) = attempts.next() => {
                if answered.is_ok() || attempts.is_empty() {
                    return answered;
                }
            }
            () = again() => attempts.push(attempt()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_attempt_without_an_answer_gets_another_one_beside_it() {
        let attempts = Cell::new(0);
        let attempt = || {
            attempts.set(attempts.get() + 1);
            let number = attempts.get();
            async move { if number < 3 { pending().await } else { Ok(number) } }
        };
        let again = async || tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(matches!(hedged(attempt, again).await, Ok(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_counts_when_no_attempt_is_left() {
        let refused = || async { Err::<(), _>(AmsError::TimedOut) };
        assert!(matches!(hedged(refused, async || pending().await).await, Err(AmsError::TimedOut)));

        let attempts = Cell::new(0);
        let attempt = || {
            attempts.set(attempts.get() + 1);
            let pause = Duration::from_secs(if attempts.get() == 1 { 3 } else { 2 });
            let answer = if attempts.get() == 1 { Err(AmsError::TimedOut) } else { Ok("late") };
            async move {
                tokio::time::sleep(pause).await;
                answer
            }
        };
        let mut once = true;
        let again = async || {
            if !std::mem::take(&mut once) {
                pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        };
        assert!(matches!(hedged(attempt, again).await, Ok("late")), "the second was under way");
    }
}
