//! Watches the document of a session for changes, as long as anybody waits for them.

use std::time::Duration;

use stream_bridge::{Bridge, BridgeError, ChangeHints};
use stream_protocol::SessionId;
use stream_protocol::subjects::Bucket;

/// What stays unsaid this long is looked up, and the hints subscribed anew: it may be of a connection
/// that is gone.
const RESUBSCRIBE_AFTER: Duration = Duration::from_secs(5);

/// So many spurious hints in a row are not hints.
const MAX_SPURIOUS: u32 = 4;

const SPURIOUS_PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct DocumentWatch<'a> {
    bridge: &'a Bridge,
    session: &'a SessionId,
    changes: ChangeHints,
    spurious: u32,
}

impl<'a> DocumentWatch<'a> {
    /// Follows the document of `session` from now on: what is read after this and before
    /// [`DocumentWatch::next`] cannot change unnoticed.
    pub(crate) async fn start(
        bridge: &'a Bridge,
        session: &'a SessionId,
    ) -> Result<Self, BridgeError> {
        let changes = subscribe(bridge, session).await?;
        Ok(Self { bridge, session, changes, spurious: 0 })
    }

    /// Returns when it is time to look again, after a few seconds at most. `fruitful` says whether
    /// the last look found something.
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
