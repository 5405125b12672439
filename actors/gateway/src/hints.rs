//! Hints that the document of a session has changed, as long as anybody waits for them.

use std::time::Duration;

use stream_bridge::{Bridge, BridgeError, Feed};
use stream_protocol::SessionId;
use stream_protocol::subjects::Bucket;

/// What stays unsaid this long is looked up, and the feed made anew: it may be of a connection
/// that is gone.
const POLL: Duration = Duration::from_secs(5);

/// So many hints in a row that led to nothing are not hints.
const FRUITLESS: u32 = 4;

const PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct Hints<'a> {
    bridge: &'a Bridge,
    session: &'a SessionId,
    feed: Feed,
    fruitless: u32,
}

impl<'a> Hints<'a> {
    /// Follows the document of `session` from now on: what is read after this and before
    /// [`Hints::next`] cannot change unnoticed.
    pub(crate) async fn follow(
        bridge: &'a Bridge,
        session: &'a SessionId,
    ) -> Result<Self, BridgeError> {
        let feed = feed(bridge, session).await?;
        Ok(Self { bridge, session, feed, fruitless: 0 })
    }

    /// Returns when it is time to look again, after a few seconds at most. `fruitful` says whether
    /// the last look found something.
    pub(crate) async fn next(&mut self, fruitful: bool) {
        self.fruitless = if fruitful { 0 } else { self.fruitless.saturating_add(1) };
        let suspect = self.fruitless > FRUITLESS;
        if suspect {
            tokio::time::sleep(PAUSE).await;
        }
        let hinted = tokio::time::timeout(POLL, self.feed.changed()).await.is_ok();
        if hinted && !suspect {
            return;
        }
        if let Ok(feed) = feed(self.bridge, self.session).await {
            self.feed = feed;
            self.fruitless = 0;
        }
    }
}

async fn feed(bridge: &Bridge, session: &SessionId) -> Result<Feed, BridgeError> {
    bridge.follow_entry(Bucket::Sessions, session.as_str()).await
}
