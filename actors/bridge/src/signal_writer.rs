//! Writing one direction of a peer's signals.
//!
//! A writer keeps the connection it was given, so that a signal need not pass through the mailbox
//! of the actor, which was measured to cost a tenth of its way to the other end and back.

use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use stream_protocol::{
    Cursor, Direction, Hop, NewSignal, Signal, SignalPeer, StoredSignal, TimelineEntry, Versioned,
    subjects,
};

use crate::connection::publish;
use crate::signal_log::{SignalLog, Tail};
use crate::{BridgeError, SignalConnection};

/// How often a write that was not acknowledged is repeated; the id makes that harmless.
const MAX_ATTEMPTS: usize = 3;

/// How many signals of a writer are looked at for what the timeline tells: a description is among
/// the first of a client.
const LOOKED_AT: u32 = 64;

/// Writes the signals of one peer in one direction; made by [`SignalConnection::writer`].
pub struct SignalWriter {
    connection: SignalConnection,
    subject: String,
    /// What comes before the id of a signal, for the log.
    prefix: String,
    log: Option<SignalLog>,
    /// Where the subject ended after the last signal of this writer.
    tail: Option<Tail>,
    peer: SignalPeer,
    direction: Direction,
    /// How many signals were looked at, and of which generation the last one was.
    looked_at: (u32, u64),
}

impl SignalConnection {
    /// Returns a writer for the signals of `peer`. Nothing is asked before its first call.
    pub fn writer(&self, peer: impl Into<SignalPeer>, direction: Direction) -> SignalWriter {
        let peer = peer.into();
        SignalWriter {
            connection: self.clone(),
            subject: subjects::signal(&peer, direction),
            // The window of ids is the stream's, not the subject's.
            prefix: format!("{peer}.{direction}"),
            log: None,
            tail: None,
            peer,
            direction,
            looked_at: (0, 0),
        }
    }
}

impl SignalWriter {
    /// Stores a signal and returns its cursor once the log has acknowledged it. An id that was
    /// written before is not stored again, and answered with the first cursor.
    ///
    /// # Errors
    ///
    /// Why the log has not acknowledged it; it may be stored all the same. The next call takes the
    /// connection of then.
    pub async fn append(&mut self, posted: &NewSignal) -> Result<Cursor, BridgeError> {
        let metrics = self.connection.bridge().metrics().clone();
        metrics.observe("append", self.write(posted)).await
    }

    async fn write(&mut self, posted: &NewSignal) -> Result<Cursor, BridgeError> {
        let NewSignal { id, generation, signal } = posted;
        let message_id = format!("{}.{generation}.{}", self.prefix, id.as_str());
        let log = self.log().await?;
        // Kept over a failure: whether it still holds, the server checks.
        let known = self.tail;
        let mut may_look = known.is_some();
        // Whoever cannot know what comes before its signal writes it all the same.
        let mut tail = match known {
            Some(tail) => Some(tail),
            None => log.tail(&self.subject).await,
        };
        let mut attempts = 1;
        let written = loop {
            let previous = tail.map(|tail| tail.previous);
            let stored = StoredSignal { generation: *generation, signal: signal.clone(), previous };
            let payload: Bytes = Versioned::encode(stored).into();
            let mut message = PublishMessage::build().payload(payload).message_id(&message_id);
            if let Some(tail) = tail {
                message = message.expected_last_subject_sequence(tail.kept);
            }
            let write = publish(&log.connection, &log.jetstream, self.subject.clone(), message);
            match log.connection.fail_on_reconnect(write).await {
                Err(BridgeError::TimedOut) if attempts < MAX_ATTEMPTS => attempts += 1,
                // Another writer was faster, this signal is there already, or the log has dropped
                // the one before.
                Err(BridgeError::Conflict) if tail.is_some() => {
                    tail = None;
                    if std::mem::take(&mut may_look) {
                        tail = log.tail(&self.subject).await;
                    }
                }
                written => break written,
            }
        };
        let sequence = written?;
        let cursor = Cursor { epoch: log.epoch().await?, sequence };
        self.log = Some(log);
        self.tail = Some(Tail { kept: sequence, previous: sequence });
        self.tell_timeline(*generation, signal);
        Ok(cursor)
    }

    /// Tells of descriptions of the session's client; signals of ADB are nobody's step.
    fn tell_timeline(&mut self, generation: u64, signal: &Signal) {
        let (looked_at, of) = self.looked_at;
        let looked_at = if of == generation { looked_at } else { 0 };
        if looked_at >= LOOKED_AT || self.peer.share.is_some() {
            return;
        }
        self.looked_at = (looked_at + 1, generation);
        let hop = match signal.kind().as_deref() {
            Some("offer") => Hop::Offer,
            Some("answer") => Hop::Answer,
            _ => return,
        };
        let text = match self.direction {
            Direction::ToClient => format!("from the instance to client {generation}"),
            Direction::ToInstance => format!("from client {generation} to the instance"),
        };
        let entry = TimelineEntry::new(hop, text);
        self.connection.bridge().tell_timeline(&self.peer.session, vec![entry]);
    }

    /// Takes the connection it was given, or another one if that is lost.
    async fn log(&mut self) -> Result<SignalLog, BridgeError> {
        match self.log.take().filter(SignalLog::is_connected) {
            Some(log) => Ok(log),
            None => self.connection.current().await,
        }
    }
}
