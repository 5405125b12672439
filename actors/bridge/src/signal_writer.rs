//! Writing one direction of a peer's signals.
//!
//! A writer keeps the connection it was given, so that a signal need not pass through the mailbox
//! of the actor, which was measured to cost a tenth of its way to the other end and back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use stream_protocol::{
    Cursor, Direction, Hop, NewSignal, Signal, SignalPeer, StoredSignal, TimelineEntry, Versioned,
    subjects,
};

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

/// Whether an answer takes none of the pictures that were offered: the port of such a section is 0.
pub(crate) fn rejects_video(answer: &Signal) -> bool {
    let Some(encoded) = answer.sdp() else { return false };
    let Ok(sdp) = STANDARD.decode(encoded) else { return false };
    let sdp = String::from_utf8_lossy(&sdp);
    let mut video = sdp.lines().filter(|line| line.starts_with("m=video ")).peekable();
    video.peek().is_some() && video.all(|line| line.starts_with("m=video 0 "))
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
        metrics.observe("append", Box::pin(self.write(posted))).await
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
            let expected = tail.map(|tail| tail.kept);
            match log.append(&self.subject, &message_id, payload, expected).await {
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
            Some("answer" | "error") => Hop::Answer,
            _ => return,
        };
        let way = match self.direction {
            Direction::ToClient => format!("from the instance to client {generation}"),
            Direction::ToInstance => format!("from client {generation} to the instance"),
        };
        let failure = match (hop, signal.error()) {
            (_, Some(error)) => Some(format!("an error {way}: {error}")),
            (Hop::Answer, None) if rejects_video(signal) => {
                Some(format!("{way}, which takes no video: they have no codec in common"))
            }
            _ => None,
        };
        let failed = failure.is_some();
        let entry = TimelineEntry::new(hop, failure.unwrap_or(way));
        let entry = TimelineEntry { failed, ..entry };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_picture_is_told_from_others() {
        let answer = |sdp: &str| {
            let text = format!(r#"{{"type":"answer","sdp":"{}"}}"#, STANDARD.encode(sdp));
            Signal::parse(text).expect("a signal")
        };
        assert!(rejects_video(&answer("v=0\r\nm=audio 9 a\r\nm=video 0 UDP/TLS/RTP/SAVPF 0\r\n")));
        assert!(!rejects_video(&answer("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n")));
        assert!(!rejects_video(&answer("v=0\r\nm=application 9 x\r\n")), "none was offered");
        let other = Signal::parse(r#"{"type":"answer","sdp":"not base64!"}"#.to_owned());
        assert!(!rejects_video(&other.expect("a signal")));
    }
}
