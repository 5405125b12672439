//! Waiting for a change of a session document.

use std::time::Duration;

use stream_bridge::{Bridge, BridgeError, ChangeHints};
use stream_protocol::SessionId;
use stream_protocol::subjects::Bucket;

/// A watch without a hint for this long has its holder read the document, and subscribes again: the
/// subscription may belong to a connection that is gone.
const RESUBSCRIBE_AFTER: Duration = Duration::from_secs(5);

/// After this many hints in a row that led to no change, the watch slows down and subscribes again.
const MAX_SPURIOUS: u32 = 4;

/// The pause before each further hint then.
const SPURIOUS_PAUSE: Duration = Duration::from_millis(200);

/// A subscription to changes of one session document.
pub(crate) struct DocumentWatch<'a> {
    bridge: &'a Bridge,
    session: &'a SessionId,
    changes: ChangeHints,
    spurious: u32,
}

impl<'a> DocumentWatch<'a> {
    /// Subscribes to changes of the document of `session`. A change between this call and
    /// [`DocumentWatch::next`] is not missed.
    pub(crate) async fn start(
        bridge: &'a Bridge,
        session: &'a SessionId,
    ) -> Result<Self, BridgeError> {
        let changes = subscribe(bridge, session).await?;
        Ok(Self { bridge, session, changes, spurious: 0 })
    }

    /// Returns when the document may have changed, after [`RESUBSCRIBE_AFTER`] at the latest.
    /// `fruitful` says whether the last reading of the document led to anything.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may take a hint with it: read the document before the next one.
    pub(crate) async fn next(&mut self, fruitful: bool) {
        self.spurious = if fruitful { 0 } else { self.spurious.saturating_add(1) };
        let suspect = self.spurious > MAX_SPURIOUS;
        if suspect {
            tokio::time::sleep(SPURIOUS_PAUSE).await;
        }
        let hinted = tokio::time::timeout(RESUBSCRIBE_AFTER, self.changes.changed()).await.is_ok();
        if hinted && !suspect {
            return;
        }
        if let Ok(changes) = subscribe(self.bridge, self.session).await {
            self.changes = changes;
            self.spurious = 0;
        }
    }
}

async fn subscribe(bridge: &Bridge, session: &SessionId) -> Result<ChangeHints, BridgeError> {
    bridge.subscribe_changes(Bucket::Sessions, session.as_str()).await
}
