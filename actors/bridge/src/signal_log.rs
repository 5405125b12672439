//! The signal log: numbered by the stream that keeps it, written idempotently, read by cursor.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::stream::LastRawMessageErrorKind as RawMessageErrorKind;
use parking_lot::Mutex;
use stream_protocol::{
    Cursor, LoggedSignal, SignalPage, StoredSignal, Versioned, error_chain, subjects,
};

use crate::connection::{Connection, with_timeout};
use crate::log_bounds::Bounds;
use crate::log_watch::Position;
use crate::{BridgeError, batch};

/// How long an epoch that was read is taken to be the present one.
const EPOCH_TTL: Duration = Duration::from_secs(5);

/// How old a look at the end of the log may be for a reader that waits.
pub(crate) const LOOK_TTL: Duration = Duration::from_secs(1);

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
            let bounds = self.bounds(Instant::now()).await?;
            if let Some(after) = after {
                bounds.check(after)?;
            }
            // Something may have been stored between read and bounds, and any server of a cluster
            // answers a read, which may lag behind the one that told the bounds. Where that one
            // finds nothing either, the end is a cursor that moves on without skipping anything.
            if batch.messages.is_empty() && bounds.last >= from {
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
        let number = self.bounds(Instant::now()).await?.epoch;
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

    /// Returns where the log reaches, as seen at `since` or later by any reader of the process.
    async fn bounds(&self, since: Instant) -> Result<Bounds, BridgeError> {
        let look = async || {
            let info = with_timeout(self.stream.get_info()).await?;
            let info = info.map_err(BridgeError::disconnected)?;
            Ok(Bounds {
                epoch: u64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(0),
                first: info.state.first_sequence,
                last: info.state.last_sequence,
                is_replicated: info.config.num_replicas > 1,
            })
        };
        self.connection.log_watch.bounds(since, look).await
    }

    /// Returns the cursor that a reader of `subject` has without reading anything: it stands at
    /// `after` since [`LOOK_TTL`] at least. `None` when there may be a signal behind it.
    ///
    /// # Errors
    ///
    /// [`BridgeError::HistoryGone`] when signals up to the cursor are no longer kept.
    pub(crate) async fn skip_quiet(
        &self,
        subject: &str,
        after: Cursor,
    ) -> Result<Option<Cursor>, BridgeError> {
        let since = Instant::now().checked_sub(LOOK_TTL);
        let bounds = self.bounds(since.unwrap_or_else(Instant::now)).await?;
        bounds.check(after)?;
        if after.sequence == bounds.last {
            return Ok(Some(after));
        }
        if bounds.is_replicated {
            // The server that is asked may lag.
            return Ok(None);
        }
        let position = Position { subject: subject.to_owned(), after: after.sequence };
        let ask = async |positions: &[Position]| self.behind(positions).await;
        let has_more = self.connection.log_watch.has_more(&position, ask).await?;
        Ok((!has_more).then(|| bounds.end()))
    }

    /// Returns those of `positions` behind which there is something.
    async fn behind(&self, positions: &[Position]) -> Result<HashSet<Position>, BridgeError> {
        let of: Vec<_> = positions.iter().map(|one| one.subject.as_str()).collect();
        let from = positions.iter().map(|one| one.after).min().unwrap_or(0).saturating_add(1);
        let client = &self.connection.client;
        let batch = batch::get_last(client, subjects::SIGNALS, &of, from).await?;
        let last: HashMap<_, _> =
            batch.messages.iter().map(|one| (one.subject.as_str(), one.sequence)).collect();
        let has_more = |one: &&Position| match last.get(one.subject.as_str()) {
            Some(sequence) => *sequence > one.after,
            // An answer that was cut short says nothing of it.
            None => !batch.complete,
        };
        Ok(positions.iter().filter(has_more).cloned().collect())
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
