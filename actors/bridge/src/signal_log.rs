//! The signal log: numbered by the stream that keeps it, written idempotently, read by cursor.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use stream_protocol::{Cursor, LoggedSignal, SignalPage, StoredSignal, Versioned};
use tokio::time::{Instant, timeout};
use tokio::try_join;

use crate::connection::{Connection, Subscription};
use crate::log_bounds::{Bounds, Place};
use crate::log_streams::LogStreams;
use crate::log_watch::Position;
use crate::{BridgeError, batch};

/// How long an epoch that was read is taken to be the present one.
const EPOCH_TTL: Duration = Duration::from_secs(5);

/// How long a writer looks for the end of its subject.
const TAIL_TIMEOUT: Duration = Duration::from_millis(300);

/// How old a look at the end of the log may be for a reader that waits.
pub(crate) const LOOK_TTL: Duration = Duration::from_secs(1);

/// The log of signals over one connection; cheap to clone. What is under way fails with
/// [`BridgeError::TimedOut`] as soon as the connection was lost and made again: the server does not
/// answer then what it was asked before.
#[derive(Clone)]
pub(crate) struct SignalLog {
    streams: LogStreams,
    epoch: Arc<Mutex<Option<Epoch>>>,
}

/// Where a subject of the log ends; 0 stands for nothing.
#[derive(Clone, Copy)]
pub(crate) struct Tail {
    /// The last signal that is kept.
    pub(crate) kept: u64,
    /// The last signal that was stored, kept or not.
    pub(crate) previous: u64,
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
    /// Opens the log, whose streams exist.
    pub(crate) async fn open(connection: Connection) -> Result<Self, String> {
        LogStreams::open(connection).await.map(Self::of)
    }

    /// Returns the log that `streams` are.
    pub(crate) fn of(streams: LogStreams) -> Self {
        Self { streams, epoch: Arc::default() }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.streams.is_connected()
    }

    /// Subscribes to what is published live on a subject.
    pub(crate) async fn subscribe(&self, subject: String) -> Result<Subscription, BridgeError> {
        self.streams.subscribe(subject).await
    }

    /// Stores a signal under an id, and returns its sequence. Refuses when the last one kept on
    /// the subject is not the one `expected`.
    pub(crate) async fn append(
        &self,
        subject: &str,
        id: &str,
        payload: Bytes,
        expected: Option<u64>,
    ) -> Result<u64, BridgeError> {
        self.streams.append(subject, id, payload, expected).await
    }

    /// Reads signals of one subject: those after `after`, or those of `generation` from the
    /// beginning.
    pub(crate) async fn page(
        &self,
        subject: &str,
        after: Option<Cursor>,
        generation: u64,
    ) -> Result<SignalPage, BridgeError> {
        let read = self.read_page(subject, after, generation);
        self.streams.fail_on_reconnect(Box::pin(read)).await
    }

    async fn read_page(
        &self,
        subject: &str,
        after: Option<Cursor>,
        generation: u64,
    ) -> Result<SignalPage, BridgeError> {
        let mut from = after.map_or(1, |cursor| cursor.sequence.saturating_add(1));
        // What follows a cursor that misses nothing is complete.
        let mut unproven = after;
        loop {
            let mut batch = self.streams.batch(subject, from).await?;
            // Looked at after the read: what the read could miss is missing here, too.
            let bounds = self.bounds(Instant::now()).await?;
            let place = after.map(|after| bounds.place(after));
            if place == Some(Place::Unknown) {
                return Err(BridgeError::HistoryGone { fresh: bounds.end() });
            }
            // Something may have been stored between read and bounds, and any server of a cluster
            // answers a read, which may lag behind the one that told the bounds. Where that one
            // finds nothing either, the end is a cursor that moves on without skipping anything.
            if batch.messages.is_empty() && bounds.last >= from {
                let first = self.streams.first(subject, from).await?;
                // What comes behind it is for the next read.
                let complete = first.is_none();
                batch = batch::Batch { messages: first.into_iter().collect(), complete };
            }
            if let (Some(after), Some(Place::Overtaken)) = (unproven.take(), place) {
                self.check_overtaken(subject, after, &batch, bounds).await?;
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
        let connects = self.streams.connects();
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

    /// Refuses a cursor behind which signals of its subject were dropped, given the `batch` that is
    /// kept behind it.
    async fn check_overtaken(
        &self,
        subject: &str,
        after: Cursor,
        batch: &batch::Batch,
        bounds: Bounds,
    ) -> Result<(), BridgeError> {
        let Some(first) = batch.messages.first() else {
            let ends = self.streams.ends(subject, bounds.epoch).await?;
            let is_quiet = ends.prove_quiet(after.sequence, bounds.first);
            return is_quiet.then_some(()).ok_or(BridgeError::HistoryGone { fresh: bounds.end() });
        };
        let stored = Versioned::decode(&first.payload);
        let previous = stored.ok().and_then(|stored: StoredSignal| stored.previous);
        if previous.is_some_and(|previous| previous <= after.sequence) {
            return Ok(());
        }
        let sequence = first.sequence.saturating_sub(1);
        Err(BridgeError::HistoryGone { fresh: Cursor { epoch: bounds.epoch, sequence } })
    }

    /// Returns where `subject` ends, for whoever writes to it; none when it cannot be known soon. A
    /// signal must not wait for what matters to few readers.
    pub(crate) async fn tail(&self, subject: &str) -> Option<Tail> {
        let look = async {
            if let Some(kept) = self.streams.last(subject).await.ok()? {
                return Some(Tail { kept, previous: kept });
            }
            let (epoch, dropped) = try_join!(self.epoch(), self.streams.last_end(subject)).ok()?;
            let previous = dropped.filter(|_| self.streams.has_ends_of(epoch))?;
            Some(Tail { kept: 0, previous })
        };
        timeout(TAIL_TIMEOUT, look).await.ok()?
    }

    /// Returns where the log reaches, as seen at `since` or later by any reader of the process.
    async fn bounds(&self, since: Instant) -> Result<Bounds, BridgeError> {
        self.streams.watch().bounds(since, async || self.streams.bounds().await).await
    }

    /// Returns the cursor that a reader of `subject` has without reading anything: it stands at
    /// `after` since [`LOOK_TTL`] at least. `None` when the log has to be read.
    ///
    /// # Errors
    ///
    /// [`BridgeError::HistoryGone`] when the log does not know the cursor.
    pub(crate) async fn skip_quiet(
        &self,
        subject: &str,
        after: Cursor,
    ) -> Result<Option<Cursor>, BridgeError> {
        let moved = self.look_behind(subject, after);
        self.streams.fail_on_reconnect(Box::pin(moved)).await
    }

    async fn look_behind(
        &self,
        subject: &str,
        after: Cursor,
    ) -> Result<Option<Cursor>, BridgeError> {
        let since = Instant::now().checked_sub(LOOK_TTL);
        let bounds = self.bounds(since.unwrap_or_else(Instant::now)).await?;
        match bounds.place(after) {
            Place::Within => {}
            Place::Overtaken => return Ok(None),
            Place::Unknown => return Err(BridgeError::HistoryGone { fresh: bounds.end() }),
        }
        if after.sequence == bounds.last {
            return Ok(Some(after));
        }
        if bounds.is_replicated {
            // The server that is asked may lag.
            return Ok(None);
        }
        let position = Position { subject: subject.to_owned(), after: after.sequence };
        let ask = async |positions: &[Position]| self.behind(positions).await;
        let has_more = self.streams.watch().has_more(&position, ask).await?;
        Ok((!has_more).then(|| bounds.end()))
    }

    /// Returns those of `positions` behind which there is something.
    async fn behind(&self, positions: &[Position]) -> Result<HashSet<Position>, BridgeError> {
        let of: Vec<_> = positions.iter().map(|one| one.subject.as_str()).collect();
        let from = positions.iter().map(|one| one.after).min().unwrap_or(0).saturating_add(1);
        let batch = self.streams.last_of(&of, from).await?;
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
        let StoredSignal { generation, signal, previous: _ } = stored;
        Some(LoggedSignal { cursor, generation, signal })
    });
    logged.filter(|signal| after.is_some() || signal.generation == generation).collect()
}
