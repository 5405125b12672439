//! The last signal of each subject, copied by the server: what the log itself has dropped.

use std::sync::Arc;

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Info, LastRawMessageErrorKind, Stream};
use tokio::try_join;

use crate::BridgeError;
use crate::connection::with_timeout;
use crate::log_bounds::Ends;

/// The stream of the copies; cheap to clone.
#[derive(Clone)]
pub(crate) struct LogEnds {
    stream: Arc<Stream>,
    created_at: u64,
}

impl LogEnds {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { created_at: created_at(stream.cached_info()), stream: Arc::new(stream) }
    }

    /// Whether they are copies of the log of `epoch`, not of one that was lost without them.
    pub(crate) fn are_of(&self, epoch: u64) -> bool {
        self.created_at >= epoch
    }

    /// Returns what the copies of the log of `epoch` say of `subject`.
    pub(crate) async fn of(&self, subject: &str, epoch: u64) -> Result<Ends, BridgeError> {
        // Ahead of the rest: what is copied meanwhile is missing in no answer but this.
        let of_subject = self.last_sequence(subject).await?.filter(|end| *end > 0);
        let info =
            with_timeout(self.stream.get_info()).await?.map_err(BridgeError::disconnected)?;
        if created_at(&info) < epoch {
            return Ok(Ends::default());
        }
        let (first, last) = (info.state.first_sequence, info.state.last_sequence);
        let (first, last) = try_join!(self.copied(first), self.copied(last))?;
        Ok(Ends { first, last, of_subject })
    }

    /// Returns the sequence in the log of the last signal of `subject`, 0 when none is copied: by
    /// then nobody has a cursor from before. None when the copy does not say it.
    pub(crate) async fn last_sequence(&self, subject: &str) -> Result<Option<u64>, BridgeError> {
        let copy = last_of(&self.stream, subject).await?;
        Ok(copy.map_or(Some(0), |copy| sequence(&copy)))
    }

    /// Returns the sequence in the log of the signal whose copy has the sequence `copy`; none when
    /// it went away meanwhile.
    async fn copied(&self, copy: u64) -> Result<Option<u64>, BridgeError> {
        let found = with_timeout(self.stream.raw_message_builder().sequence(copy).send()).await?;
        match found {
            Ok(copy) => Ok(sequence(&copy)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(BridgeError::disconnected(error)),
        }
    }
}

/// Returns when a stream was made, in Unix nanoseconds.
pub(crate) fn created_at(info: &Info) -> u64 {
    u64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(0)
}

/// Returns the last message of `subject`, as the server says that leads.
pub(crate) async fn last_of(
    stream: &Stream,
    subject: &str,
) -> Result<Option<StreamMessage>, BridgeError> {
    match with_timeout(stream.get_last_raw_message_by_subject(subject)).await? {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(BridgeError::disconnected(error)),
    }
}

/// Returns the sequence in the log of the signal that `copy` was made from. The server writes
/// `STREAM SEQUENCE …` (ADR-8 of NATS has the rest).
fn sequence(copy: &StreamMessage) -> Option<u64> {
    copy.headers.get("Nats-Stream-Source")?.as_str().split(' ').nth(1)?.parse().ok()
}
