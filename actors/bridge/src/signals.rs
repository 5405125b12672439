//! The signal log: numbered by the stream that keeps it, written idempotently, read by cursor.

use std::time::{Duration, Instant};

use actix::Message;
use async_nats::jetstream;
use async_nats::jetstream::stream::LastRawMessageErrorKind as RawMessageErrorKind;
use stream_protocol::{Cursor, LoggedSignal, Page, StoredSignal, Versioned, subjects};
use stream_supervisor::{Handler, Me, Reply};

use crate::actor::{Actor, Connected, lock};
use crate::link::chain;
use crate::store::in_time;
use crate::{BridgeError, batch};

/// For how long the epoch is taken to be what it was.
const EPOCH: Duration = Duration::from_secs(5);

/// Reads the signals of one subject.
#[derive(Message)]
#[rtype(result = "Result<Page, BridgeError>")]
pub(crate) struct ReadLog {
    pub(crate) subject: String,
    pub(crate) after: Option<Cursor>,
    pub(crate) generation: u64,
}

/// Stores a message and returns its sequence.
pub(crate) async fn write(
    nats: &Connected,
    subject: &str,
    message: jetstream::message::PublishMessage,
) -> Result<u64, BridgeError> {
    let sent = in_time(nats.jetstream.send_publish(subject.to_owned(), message)).await?;
    let acknowledged = sent.map_err(|error| BridgeError::Away(chain(&error)))?.await;
    acknowledged.map(|ack| ack.sequence).map_err(|error| match error.kind() {
        jetstream::context::PublishErrorKind::TimedOut => BridgeError::TimedOut,
        _ => BridgeError::Away(chain(&error)),
    })
}

impl Handler<ReadLog> for Actor {
    fn handle(&mut self, read: &ReadLog, _: &Me<Self>) -> Reply<Result<Page, BridgeError>> {
        let ReadLog { subject, after, generation } = read;
        let (subject, after, generation) = (subject.clone(), *after, *generation);
        self.with_store(async move |nats| page(&nats, &subject, after, generation).await)
    }
}

async fn page(
    nats: &Connected,
    subject: &str,
    after: Option<Cursor>,
    generation: u64,
) -> Result<Page, BridgeError> {
    let mut from = after.map_or(1, |cursor| cursor.sequence.saturating_add(1));
    loop {
        let mut batch = batch::get(&nats.client, subjects::SIGNALS, subject, from).await?;
        // Looked at after the read: what the read could miss is missing here, too.
        let extent = extent(nats).await?;
        if let Some(after) = after {
            extent.check(after)?;
        }
        // Any server of a cluster answers a read, and it may lag behind the one that leads, which
        // told the extent. Where that one finds nothing either, the end is a cursor that moves on
        // without skipping anything.
        if batch.messages.is_empty() {
            batch = lagging(nats, subject, from).await?;
        }
        let (read, complete) = (batch.messages.last().map(|last| last.sequence), batch.complete);
        let signals = decode(batch, extent.epoch, after, generation);
        match read {
            // Many signals of generations before: what is asked for comes behind them.
            Some(sequence) if signals.is_empty() && !complete => from = sequence + 1,
            _ => {
                let sequence = read.unwrap_or(extent.last);
                return Ok(Page { cursor: Cursor { epoch: extent.epoch, sequence }, signals });
            }
        }
    }
}

/// Asks the server that leads for the first message from `from` on.
async fn lagging(nats: &Connected, subject: &str, from: u64) -> Result<batch::Batch, BridgeError> {
    let first = in_time(nats.signals.get_first_raw_message_by_subject(subject, from)).await?;
    let messages = match first {
        Ok(message) => vec![batch::Stored {
            sequence: message.sequence,
            subject: message.subject.to_string(),
            payload: message.payload,
            is_marker: false,
        }],
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Vec::new(),
        Err(error) => return Err(BridgeError::Away(chain(&error))),
    };
    // What comes behind it is for the next read.
    Ok(batch::Batch { complete: messages.is_empty(), messages })
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
struct Extent {
    epoch: u64,
    first: u64,
    last: u64,
}

impl Extent {
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

/// Returns the epoch of the log, which is looked at only now and then: for as long as somebody who
/// makes the log anew meanwhile goes unnoticed, cursors lead to a history that is gone.
pub(crate) async fn epoch(nats: &Connected) -> Result<u64, BridgeError> {
    if let Some((looked, epoch)) = *lock(&nats.epoch)
        && looked.elapsed() < EPOCH
    {
        return Ok(epoch);
    }
    let epoch = extent(nats).await?.epoch;
    *lock(&nats.epoch) = Some((Instant::now(), epoch));
    Ok(epoch)
}

async fn extent(nats: &Connected) -> Result<Extent, BridgeError> {
    let info = in_time(nats.signals.get_info()).await?;
    let info = info.map_err(|error| BridgeError::Away(chain(&error)))?;
    let epoch = u64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(0);
    Ok(Extent { epoch, first: info.state.first_sequence, last: info.state.last_sequence })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_from_just_before_the_first_kept_signal_to_the_last() {
        let log = Extent { epoch: 7, first: 10, last: 20 };
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
        let log = Extent { epoch: 7, first: 1, last: 0 };
        assert!(log.check(Cursor { epoch: 7, sequence: 0 }).is_ok());
    }
}
