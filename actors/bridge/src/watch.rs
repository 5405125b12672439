//! Looking at a record again when it changes, and now and then.

use std::time::{Duration, Instant};

use stream_protocol::subjects::Bucket;
use tokio::time::{sleep, timeout};

use crate::{Bridge, ChangeHints};

/// How long a change may stay unnoticed when its hint is lost.
const REFRESH: Duration = Duration::from_secs(20);

/// Pauses after a failed look double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Bridge {
    /// Calls `refresh` at once, again whenever the value under `key` may have changed (with the key
    /// `>`, any value of the bucket), and every 20 s at the latest; a second after a failure, which
    /// `refresh` answers with false. Never ends.
    pub async fn watch(&self, bucket: Bucket, key: &str, mut refresh: impl AsyncFnMut() -> bool) {
        let mut hints: Option<ChangeHints> = None;
        let mut subscribed_at = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            // Before the look, which would else miss what changes right after it; and anew now and
            // then, since hints may be of a connection that is gone.
            if hints.is_none() || subscribed_at.elapsed() >= REFRESH {
                hints = self.subscribe_changes(bucket, key).await.ok();
                subscribed_at = Instant::now();
            }
            let rest = if refresh().await {
                pause = FIRST_PAUSE;
                // Without hints it is the look itself that must be frequent.
                if hints.is_some() { REFRESH } else { LONGEST_PAUSE }
            } else {
                let rest = pause;
                pause = LONGEST_PAUSE.min(pause * 2);
                hints = None;
                rest
            };
            match &mut hints {
                // Either way it is time.
                Some(hints) => drop(timeout(rest, hints.changed()).await),
                None => sleep(rest).await,
            }
        }
    }
}
