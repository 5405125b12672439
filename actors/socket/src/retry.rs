//! Trying again what cannot be done at the moment.

use std::time::{Duration, Instant};

use tokio::time::sleep;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Repeats `attempt` with growing pauses as long as its failure is `is_transient`, and at most for
/// `timeout`.
pub async fn retry_while<T, E>(
    timeout: Duration,
    is_transient: impl Fn(&E) -> bool,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if !is_transient(&error) || started.elapsed() >= timeout {
            return Err(error);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use stream_bridge::BridgeError;

    use super::*;

    #[actix_web::test]
    async fn a_passing_failure_is_tried_again_and_another_is_not() {
        let mut tries = 0;
        let back = retry_while(Duration::MAX, BridgeError::is_transient, async || {
            tries += 1;
            if tries == 1 { Err(BridgeError::Disconnected("nobody there".into())) } else { Ok(7) }
        });
        assert_eq!(back.await.expect("the second try"), 7);
        assert_eq!(tries, 2);

        let broken = retry_while(Duration::MAX, BridgeError::is_transient, async || {
            tries += 1;
            Err::<(), _>(BridgeError::Conflict)
        });
        assert!(matches!(broken.await, Err(BridgeError::Conflict)));
        assert_eq!(tries, 3);
    }

    #[actix_web::test]
    async fn a_timeout_ends_the_retries() {
        let away = async || Err::<(), _>(BridgeError::Disconnected("nobody there".into()));
        assert!(matches!(
            retry_while(Duration::ZERO, BridgeError::is_transient, away).await,
            Err(BridgeError::Disconnected(_))
        ));
    }
}
