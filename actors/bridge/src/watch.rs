//! Looking at a record again when it changes, and now and then.

use std::time::{Duration, Instant};

use stream_protocol::subjects::Bucket;
use tokio::time::{sleep, timeout};

use crate::{Bridge, Feed};

/// How long a change may stay unnoticed when its hint is lost.
const REFRESH: Duration = Duration::from_secs(20);

/// Pauses after a failed look double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Bridge {
    /// Calls `look` at once, again whenever the value under `key` may have changed (with the key
    /// `>`, any value of the bucket), and every 20 s at the latest; a second after a failure, which
    /// `look` answers with false. Never ends.
    pub async fn watch(&self, bucket: Bucket, key: &str, mut look: impl AsyncFnMut() -> bool) {
        let mut feed: Option<Feed> = None;
        let mut fed = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            // Before the look, which would else miss what changes right after it; and anew now and
            // then, since a feed may be of a connection that is gone.
            if feed.is_none() || fed.elapsed() >= REFRESH {
                feed = self.follow_entry(bucket, key).await.ok();
                fed = Instant::now();
            }
            let rest = if look().await {
                pause = FIRST_PAUSE;
                // Without hints it is the look itself that must be frequent.
                if feed.is_some() { REFRESH } else { LONGEST_PAUSE }
            } else {
                let rest = pause;
                pause = LONGEST_PAUSE.min(pause * 2);
                feed = None;
                rest
            };
            match &mut feed {
                // Either way it is time.
                Some(feed) => drop(timeout(rest, feed.changed()).await),
                None => sleep(rest).await,
            }
        }
    }
}
