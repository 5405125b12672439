//! Hints that a session has something new, as long as anybody waits for them.

use std::time::Duration;

use stream_bridge::{Bridge, BridgeError, Feed};
use stream_protocol::subjects::Bucket;
use stream_protocol::{Direction, SessionId};

/// What stays unsaid this long is looked up, and the feed made anew: it may be of a connection
/// that is gone.
const POLL: Duration = Duration::from_secs(5);

/// So many hints in a row that led to nothing are not hints.
const FRUITLESS: u32 = 4;

const PAUSE: Duration = Duration::from_millis(200);

/// What is followed.
#[derive(Clone, Copy)]
pub(crate) enum Topic<'a> {
    /// The document of a session.
    Document(&'a SessionId),
    /// The signals to the client of a session.
    Signals(&'a SessionId),
}

pub(crate) struct Hints<'a> {
    bridge: &'a Bridge,
    topic: Topic<'a>,
    feed: Feed,
    fruitless: u32,
}

impl<'a> Hints<'a> {
    /// Follows `topic` from now on: what is read after this and before [`Hints::next`] cannot
    /// change unnoticed.
    pub(crate) async fn follow(bridge: &'a Bridge, topic: Topic<'a>) -> Result<Self, BridgeError> {
        let feed = feed(bridge, topic).await?;
        Ok(Self { bridge, topic, feed, fruitless: 0 })
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
        if let Ok(feed) = feed(self.bridge, self.topic).await {
            self.feed = feed;
            self.fruitless = 0;
        }
    }
}

async fn feed(bridge: &Bridge, topic: Topic<'_>) -> Result<Feed, BridgeError> {
    match topic {
        Topic::Document(id) => bridge.follow_entry(Bucket::Sessions, id.as_str()).await,
        Topic::Signals(id) => bridge.follow_signals(id, Direction::ToClient).await,
    }
}
