//! Reading one direction of a session's signals as the log grows.
//!
//! The server publishes what it has stored, so a reader that has caught up is told at once. What
//! is published can get lost; that what came is next to what was there before is checked with
//! every signal, and the log is read again otherwise, as it is every few seconds without any.

use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::{FutureExt, StreamExt};
use stream_protocol::{
    Cursor, Direction, LoggedSignal, Page, SessionId, StoredSignal, Versioned, subjects,
};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::batch::number;
use crate::signals::Log;
use crate::{BridgeError, Near};

/// What stays unsaid this long is looked up in the log.
const LOOK: Duration = Duration::from_secs(5);

/// How long one look into the log may take.
const READ: Duration = Duration::from_secs(20);

/// How many signals are handed on at once.
const PAGE: usize = 256;

/// A reader of the signal log that goes on from its own cursor; made by [`Near::tail`].
///
/// Nothing is lost, repeated or swapped between two calls, whatever happens to the server, to the
/// connection or to the bridge in between.
pub struct Tail {
    near: Near,
    subject: String,
    after: Option<Cursor>,
    generation: u64,
    live: Option<Live>,
}

/// The subscription, and how far the log was read after it was made.
struct Live {
    log: Log,
    messages: Subscriber,
    gaps: watch::Receiver<u64>,
    /// Whether the log held nothing more when it was last read.
    caught_up: bool,
    /// Whether there is still a connection behind it.
    open: bool,
}

/// What a published message is to a reader that stands at a cursor.
#[derive(Debug, PartialEq)]
enum Place {
    /// It was read already.
    Behind,
    Next,
    /// One before it is missing, or the message says nothing of itself.
    Ahead,
}

impl Tail {
    pub(crate) fn new(
        near: Near,
        session: &SessionId,
        direction: Direction,
        after: Option<Cursor>,
        generation: u64,
    ) -> Self {
        let subject = subjects::signal(session, direction);
        Self { near, subject, after, generation, live: None }
    }

    /// Where the next signal is looked for; `None` until something was read.
    pub fn cursor(&self) -> Option<Cursor> {
        self.after
    }

    /// Returns the next signals, with the cursor behind them. The first call answers at once, also
    /// with none; later ones wait until there is one, or for a few seconds.
    ///
    /// Dropping the future loses nothing. After an error the next call tries again; after
    /// [`BridgeError::HistoryGone`] it fails again: what is gone has to be given up by whoever
    /// holds the cursor.
    pub async fn next(&mut self) -> Result<Page, BridgeError> {
        if let (Some(live), Some(after)) = (&mut self.live, self.after)
            && live.caught_up
            // Otherwise the log has to be read, or has not been looked at for long.
            && let Ok(Some(page)) = timeout(LOOK, live.wait(after)).await
        {
            self.after = Some(page.cursor);
            return Ok(page);
        }
        // What was lost here may stand on another connection.
        self.live = self.live.take().filter(|live| live.open && live.log.stands());
        self.catch_up().await
    }

    /// Reads the log itself, having subscribed before.
    async fn catch_up(&mut self) -> Result<Page, BridgeError> {
        let live = match self.live.take() {
            Some(live) => live,
            None => {
                let subject = format!("{}.{}", subjects::LIVE, self.subject);
                Live::start(self.near.lend().await?, subject).await?
            }
        };
        let live = self.live.insert(live);
        let read = live.log.page(&self.subject, self.after, self.generation);
        let read = timeout(READ, live.log.unless_lost(read)).await;
        let page = read.map_err(|_| BridgeError::TimedOut)??;
        self.after = Some(page.cursor);
        // A page with signals may have been full.
        live.caught_up = page.signals.is_empty();
        Ok(page)
    }
}

impl Live {
    async fn start(log: Log, subject: String) -> Result<Self, BridgeError> {
        let (messages, gaps) = log.subscribe(subject).await?;
        Ok(Self { log, messages, gaps, caught_up: false, open: true })
    }

    /// Returns the signals published behind `after`; `None` when the log has to be read.
    async fn wait(&mut self, after: Cursor) -> Option<Page> {
        loop {
            let message = tokio::select! {
                message = self.messages.next() => message,
                // After a loss of the connection nobody knows what was missed.
                _ = self.gaps.changed() => {
                    self.caught_up = false;
                    return None;
                }
            };
            let Some(message) = message else {
                self.open = false;
                return None;
            };
            let page = self.page(message, after)?;
            if !page.signals.is_empty() {
                return Some(page);
            }
        }
    }

    /// Puts together what has come already, without waiting.
    fn page(&mut self, first: Message, after: Cursor) -> Option<Page> {
        let mut page = Page { cursor: after, signals: Vec::new() };
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match place(&message, page.cursor.sequence) {
                Place::Behind => {}
                Place::Next => {
                    let logged = signal(&message, page.cursor.epoch);
                    if let Some(sequence) = sequence(&message) {
                        page.cursor.sequence = sequence;
                    }
                    page.signals.extend(logged);
                }
                Place::Ahead => {
                    self.caught_up = false;
                    // What is next to one another is handed on; the log has the rest.
                    return (!page.signals.is_empty()).then_some(page);
                }
            }
            if page.signals.len() < PAGE {
                next = self.messages.next().now_or_never().flatten();
            }
        }
        Some(page)
    }
}

fn place(message: &Message, read: u64) -> Place {
    let before = number(message.headers.as_ref(), "Nats-Last-Sequence");
    match (sequence(message), before) {
        (Some(sequence), _) if sequence <= read => Place::Behind,
        // A stream made before this version publishes headers only.
        (Some(_), Some(before)) if before <= read && !message.payload.is_empty() => Place::Next,
        _ => Place::Ahead,
    }
}

fn sequence(message: &Message) -> Option<u64> {
    number(message.headers.as_ref(), "Nats-Sequence")
}

fn signal(message: &Message, epoch: u64) -> Option<LoggedSignal> {
    let sequence = sequence(message)?;
    let stored = Versioned::decode(&message.payload);
    let StoredSignal { generation, signal } =
        stored.inspect_err(|error| log::warn!("a published signal is left out: {error}")).ok()?;
    Some(LoggedSignal { cursor: Cursor { epoch, sequence }, generation, signal })
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;

    use super::*;

    fn published(sequence: &str, before: &str, payload: &str) -> Message {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Sequence", sequence);
        headers.insert("Nats-Last-Sequence", before);
        Message {
            subject: "live.x".into(),
            reply: None,
            payload: payload.to_owned().into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn only_what_follows_the_last_that_was_read_is_next() {
        let placed = |sequence, before| place(&published(sequence, before, "{}"), 10);
        assert_eq!(placed("10", "9"), Place::Behind);
        assert_eq!(placed("12", "10"), Place::Next);
        assert_eq!(placed("12", "7"), Place::Next, "others wrote between");
        assert_eq!(placed("12", "0"), Place::Next, "the first of its subject");
        assert_eq!(placed("13", "12"), Place::Ahead, "12 was missed");
    }

    #[test]
    fn what_cannot_be_placed_is_looked_up() {
        assert_eq!(place(&published("12", "10", ""), 10), Place::Ahead, "headers only");
        assert_eq!(place(&published("x", "10", "{}"), 10), Place::Ahead);
        let bare = Message { headers: None, ..published("12", "10", "{}") };
        assert_eq!(place(&bare, 10), Place::Ahead);
    }
}
