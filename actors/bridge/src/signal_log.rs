//! The signal log: numbered by the stream that keeps it, written idempotently, read by cursor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::stream::LastRawMessageErrorKind as RawMessageErrorKind;
use parking_lot::Mutex;
use stream_protocol::{
    Cursor, LoggedSignal, SignalPage, StoredSignal, Versioned, error_chain, subjects,
};

use crate::connection::{Connection, with_timeout};
use crate::{BridgeError, batch};

/// How long an epoch that was read is taken to be the present one.
const EPOCH_TTL: Duration = Duration::from_secs(5);

/// The log of signals over one connection; cheap to clone.
#[derive(Clone)]
pub(crate) struct SignalLog {
    pub(crate) connection: Connection,
    pub(crate) jetstream: jetstream::Context,
    stream: Arc<jetstream::stream::Stream<()>>,
    epoch: Arc<Mutex<Option<Epoch>>>,
}

/// The epoch of the log when it was read.
#[derive(Clone, Copy)]
struct Epoch {
    number: u64,
    read_at: Instant,
    /// After how many connects: who connects anew may find another log.
    connects: u64,
}

impl SignalLog {
    /// Opens the log, whose stream exists.
    pub(crate) async fn open(connection: Connection) -> Result<Self, String> {
        let jetstream = connection.jetstream();
        let stream = jetstream.get_stream_no_info(subjects::SIGNALS).await;
        let stream =
            stream.map_err(|error| format!("the stream of signals: {}", error_chain(&error)))?;
        Ok(Self { connection, jetstream, stream: Arc::new(stream), epoch: Arc::default() })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_connected()
    }

    /// Reads signals of one subject: those after `after`, or those of `generation` from the
    /// beginning.
    pub(crate) async fn page(
        &self,
        subject: &str,
        after: Option<Cursor>,
        generation: u64,
    ) -> Result<SignalPage, BridgeError> {
        let mut from = after.map_or(1, |cursor| cursor.sequence.saturating_add(1));
        loop {
            let mut batch =
                batch::get(&self.connection.client, subjects::SIGNALS, subject, from).await?;
            // Looked at after the read: what the read could miss is missing here, too.
            let bounds = self.bounds().await?;
            if let Some(after) = after {
                bounds.check(after)?;
            }
            // Any server of a cluster answers a read, and it may lag behind the one that leads,
            // which told the bounds. Where that one finds nothing either, the end is a cursor that
            // moves on without skipping anything.
            if batch.messages.is_empty() {
                batch = self.read_from_leader(subject, from).await?;
            }
            let (read, complete) =
                (batch.messages.last().map(|last| last.sequence), batch.complete);
            let signals = decode(batch, bounds.epoch, after, generation);
            match read {
                // Many signals of generations before: what is asked for comes behind them.
                Some(sequence) if signals.is_empty() && !complete => from = sequence + 1,
                _ => {
                    let sequence = read.unwrap_or(bounds.last);
                    return Ok(SignalPage {
                        cursor: Cursor { epoch: bounds.epoch, sequence },
                        signals,
                    });
                }
            }
        }
    }

    /// Returns the epoch of the log, read anew every few seconds. A log that is made anew in
    /// between is noticed late: cursors given out until then lead to a history that is gone.
    pub(crate) async fn epoch(&self) -> Result<u64, BridgeError> {
        let connects = self.connection.connects();
        if let Some(Epoch { number, read_at, connects: then }) = *self.epoch.lock()
            && read_at.elapsed() < EPOCH_TTL
            && then == connects
        {
            return Ok(number);
        }
        let number = self.bounds().await?.epoch;
        *self.epoch.lock() = Some(Epoch { number, read_at: Instant::now(), connects });
        Ok(number)
    }

    /// Asks the server that leads for the first message from `from` on.
    async fn read_from_leader(
        &self,
        subject: &str,
        from: u64,
    ) -> Result<batch::Batch, BridgeError> {
        let first =
            with_timeout(self.stream.get_first_raw_message_by_subject(subject, from)).await?;
        let messages = match first {
            Ok(message) => vec![batch::StoredMessage {
                sequence: message.sequence,
                subject: message.subject.to_string(),
                payload: message.payload,
                is_delete_marker: false,
            }],
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Vec::new(),
            Err(error) => return Err(BridgeError::disconnected(error)),
        };
        // What comes behind it is for the next read.
        Ok(batch::Batch { complete: messages.is_empty(), messages })
    }

    async fn bounds(&self) -> Result<Bounds, BridgeError> {
        let info = with_timeout(self.stream.get_info()).await?;
        let info = info.map_err(BridgeError::disconnected)?;
        let epoch = u64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(0);
        Ok(Bounds { epoch, first: info.state.first_sequence, last: info.state.last_sequence })
    }
}

fn decode(
    batch: batch::Batch,
    epoch: u64,
    after: Option<Cursor>,
    generation: u64,
) -> Vec<LoggedSignal> {
    let logged = batch.messages.into_iter().filter_map(|message| {
        let stored: StoredSignal = Versioned::decode(&message.payload)
            .inspect_err(|error| log::warn!("a stored signal is left out: {error}"))
            .ok()?;
        let cursor = Cursor { epoch, sequence: message.sequence };
        let StoredSignal { generation, signal } = stored;
        Some(LoggedSignal { cursor, generation, signal })
    });
    logged.filter(|signal| after.is_some() || signal.generation == generation).collect()
}

/// From where to where the log reaches.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    epoch: u64,
    first: u64,
    last: u64,
}

impl Bounds {
    /// Refuses a cursor of another log, one that was overtaken by the trimming of old signals, and
    /// one ahead of the log (a log restored from the past).
    fn check(&self, after: Cursor) -> Result<(), BridgeError> {
        let overtaken = after.sequence.saturating_add(1) < self.first;
        if after.epoch == self.epoch && !overtaken && after.sequence <= self.last {
            return Ok(());
        }
        Err(BridgeError::HistoryGone { fresh: Cursor { epoch: self.epoch, sequence: self.last } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_from_just_before_the_first_kept_signal_to_the_last() {
        let log = Bounds { epoch: 7, first: 10, last: 20 };
        let gone = |epoch, sequence| log.check(Cursor { epoch, sequence }).is_err();
        assert!(gone(7, 8), "signal 9 was there and is trimmed");
        assert!(!gone(7, 9));
        assert!(!gone(7, 20));
        assert!(gone(7, 21), "a log that went back in time");
        assert!(gone(6, 15), "another log");
        assert!(gone(7, u64::MAX));
    }

    #[test]
    fn an_empty_new_log_accepts_its_beginning() {
        // JetStream reports first 1, last 0 for a stream that never held anything.
        let log = Bounds { epoch: 7, first: 1, last: 0 };
        assert!(log.check(Cursor { epoch: 7, sequence: 0 }).is_ok());
    }
}
