//! Waiting for a change of a session document.

use std::time::Duration;

use stream_bridge::{Bridge, BridgeError, ChangeHints};
use stream_protocol::SessionId;
use stream_protocol::subjects::Bucket;
use stream_supervisor::Backoff;
use tokio::time::{Instant, sleep};

/// How long a change may stay unnoticed when its hint is lost.
const REREAD_AFTER: Duration = Duration::from_secs(5);

/// After so many hints in a row that led to nothing, the watch pauses.
const MAX_SPURIOUS: u32 = 4;

/// How long it pauses then, longer with each further one.
const SPURIOUS_PAUSES: Backoff =
    Backoff::new(Duration::from_millis(50), Duration::from_millis(400));

/// A subscription to changes of one session document.
pub(crate) struct DocumentWatch {
    changes: ChangeHints,
    spurious: u32,
}

impl DocumentWatch {
    /// Subscribes to changes of the document of `session`. A change between this call and
    /// [`DocumentWatch::next`] is not missed.
    ///
    /// # Errors
    ///
    /// When NATS is away.
    pub(crate) async fn start(bridge: &Bridge, session: &SessionId) -> Result<Self, BridgeError> {
        let changes = bridge.subscribe_changes(Bucket::Sessions, session.as_str()).await?;
        Ok(Self { changes, spurious: 0 })
    }

    /// Returns when the document may have changed, after [`REREAD_AFTER`] at the latest. `fruitful`
    /// says whether the last reading of the document led to anything.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may take a hint with it: read the document before the next one.
    pub(crate) async fn next(&mut self, fruitful: bool) {
        if fruitful {
            self.spurious = 0;
        }
        sleep(SPURIOUS_PAUSES.after(self.spurious.saturating_sub(MAX_SPURIOUS))).await;
        let waiting = Instant::now();
        self.changes.changed(REREAD_AFTER).await;
        let hinted = waiting.elapsed() < REREAD_AFTER;
        self.spurious = if hinted { self.spurious.saturating_add(1) } else { 0 };
    }
}
