//! The last signal of each subject, copied by the server: what the log itself has dropped.

use tokio::try_join;

use crate::BridgeError;
use crate::log_bounds::{Copies, Ends};
use crate::log_streams::LogStreams;

impl LogStreams {
    /// Whether the copies are of the log of `epoch`, not of one that was lost without them.
    pub(crate) fn has_ends_of(&self, epoch: u64) -> bool {
        self.copied_since() >= epoch
    }

    /// Returns what the copies of the log of `epoch` say of `subject`.
    pub(crate) async fn ends(&self, subject: &str, epoch: u64) -> Result<Ends, BridgeError> {
        // Ahead of the rest: what is copied meanwhile is missing in no answer but this.
        let of_subject = self.last_end(subject).await?.filter(|end| *end > 0);
        let Copies { made_at, first, last } = self.copies().await?;
        if made_at < epoch {
            return Ok(Ends::default());
        }
        let (first, last) = try_join!(self.copied(first), self.copied(last))?;
        Ok(Ends { first, last, of_subject })
    }

    /// Returns the sequence in the log of the last signal of `subject`, 0 when none is copied: by
    /// then nobody has a cursor from before. None when the copy does not say it.
    pub(crate) async fn last_end(&self, subject: &str) -> Result<Option<u64>, BridgeError> {
        Ok(match self.last_copied(subject).await? {
            None => Some(0),
            Some(sequence) => Some(sequence).filter(|sequence| *sequence > 0),
        })
    }
}
