//! Reading one direction of a peer's signals as the log grows.
//!
//! The server publishes what it has stored, so a reader that has caught up is told at once. What
//! is published can get lost; that what came is next to what was there before is checked with
//! every signal, and the log is read again otherwise. Without any, a reader finds out every few
//! seconds, together with all others of the process, whether there is something for it.

use std::time::Duration;

use async_nats::Message;
use stream_protocol::{
    Cursor, Direction, LoggedSignal, SignalPage, SignalPeer, StoredSignal, Versioned, subjects,
};
use tokio::time::timeout;

use crate::batch::header_u64;
use crate::connection::{Heard, Subscription};
use crate::metrics::{GAP, HISTORY_GONE, NatsMetrics};
use crate::signal_log::SignalLog;
use crate::{BridgeError, SignalConnection};

/// What stays unsaid this long is looked up. Together with the age of a look at the log and the
/// time in which readers gather, a signal whose hint was lost is found within five seconds.
const QUIET_FOR: Duration = Duration::from_millis(3500);

/// How long one look into the log may take.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// A reader of the signal log that goes on from its own cursor; made by
/// [`SignalConnection::reader`].
///
/// Nothing is lost, repeated or swapped between two calls, whatever happens to the server, to the
/// connection or to the bridge in between.
///
/// Most readers wait, and there are thousands: what they do otherwise is boxed, so that it takes
/// memory while it is done only.
pub struct SignalReader {
    connection: SignalConnection,
    subject: String,
    after: Option<Cursor>,
    generation: u64,
    live: Option<LiveSubscription>,
}

/// The subscription, and how far the log was read after it was made.
struct LiveSubscription {
    log: SignalLog,
    subscription: Subscription,
    /// Whether the log held nothing more when it was last read.
    caught_up: bool,
    /// Whether there is still a connection behind it.
    open: bool,
}

/// What a published message is to a reader that stands at a cursor.
#[derive(Debug, PartialEq)]
enum Order {
    /// It was read already.
    Duplicate,
    Next,
    /// One before it is missing, or the message says nothing of itself.
    Gap,
}

impl SignalConnection {
    /// Returns a reader of the signals of `peer` after `after`, of all generations; without a
    /// cursor of those of `generation` from the beginning. Nothing is asked before its first call.
    pub fn reader(
        &self,
        peer: impl Into<SignalPeer>,
        direction: Direction,
        after: Option<Cursor>,
        generation: u64,
    ) -> SignalReader {
        let subject = subjects::signal(peer, direction);
        SignalReader { connection: self.clone(), subject, after, generation, live: None }
    }
}

impl SignalReader {
    /// The most signals in one page; of what is kept, a smaller one is the last.
    pub const MAX_PAGE: usize = 256;

    /// Returns the cursor after which the next signal is looked for; `None` until something was
    /// read.
    pub fn cursor(&self) -> Option<Cursor> {
        self.after
    }

    /// Returns the next signals, with the cursor behind them. The first call answers at once, also
    /// with none; later ones wait until there is one, or for a few seconds.
    ///
    /// # Errors
    ///
    /// [`BridgeError::HistoryGone`] when signals up to the cursor are no longer kept, again with
    /// each call: whoever holds the cursor has to give it up. After any other error the next call
    /// tries again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<SignalPage, BridgeError> {
        if let (Some(live), Some(after)) = (&mut self.live, self.after)
            && live.caught_up
        {
            let metrics = self.connection.bridge().metrics();
            let page = match timeout(QUIET_FOR, live.wait(after, metrics)).await {
                Ok(page) => page,
                Err(_) if live.log.is_connected() => {
                    Box::pin(live.skip_quiet(&self.subject, after)).await?
                }
                Err(_) => None,
            };
            // Otherwise the log has to be read.
            if let Some(page) = page {
                self.after = Some(page.cursor);
                return Ok(page);
            }
        }
        // What was lost here may stand on another connection.
        self.live = self.live.take().filter(|live| live.open && live.log.is_connected());
        Box::pin(self.catch_up()).await
    }

    /// Reads the log itself, having subscribed before.
    async fn catch_up(&mut self) -> Result<SignalPage, BridgeError> {
        let live = match self.live.take() {
            Some(live) => live,
            None => {
                let subject = format!("{}.{}", subjects::LIVE, self.subject);
                LiveSubscription::start(self.connection.current().await?, subject).await?
            }
        };
        let live = self.live.insert(live);
        let read = Box::pin(live.log.page(&self.subject, self.after, self.generation));
        let metrics = self.connection.bridge().metrics();
        let read = timeout(READ_TIMEOUT, metrics.observe("read_signals", read)).await;
        let page = read.map_err(|_| BridgeError::TimedOut).flatten();
        let page = page.inspect_err(|error| {
            if matches!(error, BridgeError::HistoryGone { .. }) {
                metrics.reader_behind(HISTORY_GONE);
            }
        })?;
        self.after = Some(page.cursor);
        // A page with signals may have been full.
        live.caught_up = page.signals.is_empty();
        Ok(page)
    }
}

impl LiveSubscription {
    async fn start(log: SignalLog, subject: String) -> Result<Self, BridgeError> {
        let subscription = log.subscribe(subject).await?;
        Ok(Self { log, subscription, caught_up: false, open: true })
    }

    /// Returns an empty page with the cursor moved on; `None` when the log has to be read.
    async fn skip_quiet(
        &mut self,
        subject: &str,
        after: Cursor,
    ) -> Result<Option<SignalPage>, BridgeError> {
        let moved = self.log.skip_quiet(subject, after);
        let moved = timeout(READ_TIMEOUT, moved).await;
        let moved = moved.map_err(|_| BridgeError::TimedOut).flatten();
        // What cannot be looked at here may be on another connection.
        self.caught_up = moved.is_ok();
        Ok(moved?.map(|cursor| SignalPage { cursor, signals: Vec::new() }))
    }

    /// Returns the signals published behind `after`; `None` when the log has to be read.
    async fn wait(&mut self, after: Cursor, metrics: &NatsMetrics) -> Option<SignalPage> {
        loop {
            let message = match self.subscription.next().await {
                Heard::Message(message) => message,
                Heard::Reconnected => {
                    self.caught_up = false;
                    return None;
                }
                Heard::Closed => {
                    self.open = false;
                    return None;
                }
            };
            let page = self.page(message, after, metrics)?;
            if !page.signals.is_empty() {
                return Some(page);
            }
        }
    }

    /// Puts together what has come already, without waiting.
    fn page(&mut self, first: Message, after: Cursor, metrics: &NatsMetrics) -> Option<SignalPage> {
        let mut page = SignalPage { cursor: after, signals: Vec::new() };
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match order(&message, page.cursor.sequence) {
                Order::Duplicate => {}
                Order::Next => {
                    let logged = signal(&message, page.cursor.epoch);
                    if let Some(sequence) = sequence(&message) {
                        page.cursor.sequence = sequence;
                    }
                    page.signals.extend(logged);
                }
                Order::Gap => {
                    self.caught_up = false;
                    metrics.reader_behind(GAP);
                    // What is next to one another is handed on; the log has the rest.
                    return (!page.signals.is_empty()).then_some(page);
                }
            }
            if page.signals.len() < SignalReader::MAX_PAGE {
                next = self.subscription.try_next();
            }
        }
        Some(page)
    }
}

fn order(message: &Message, read: u64) -> Order {
    let before = header_u64(message.headers.as_ref(), "Nats-Last-Sequence");
    match (sequence(message), before) {
        (Some(sequence), _) if sequence <= read => Order::Duplicate,
        // A stream made before this version publishes headers only.
        (Some(_), Some(before)) if before <= read && !message.payload.is_empty() => Order::Next,
        _ => Order::Gap,
    }
}

fn sequence(message: &Message) -> Option<u64> {
    header_u64(message.headers.as_ref(), "Nats-Sequence")
}

fn signal(message: &Message, epoch: u64) -> Option<LoggedSignal> {
    let sequence = sequence(message)?;
    let stored = Versioned::decode(&message.payload);
    let StoredSignal { generation, signal, previous: _ } =
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
        let ordered = |sequence, before| order(&published(sequence, before, "{}"), 10);
        assert_eq!(ordered("10", "9"), Order::Duplicate);
        assert_eq!(ordered("12", "10"), Order::Next);
        assert_eq!(ordered("12", "7"), Order::Next, "others wrote between");
        assert_eq!(ordered("12", "0"), Order::Next, "the first of its subject");
        assert_eq!(ordered("13", "12"), Order::Gap, "12 was missed");
    }

    #[test]
    fn what_cannot_be_placed_is_looked_up() {
        assert_eq!(order(&published("12", "10", ""), 10), Order::Gap, "headers only");
        assert_eq!(order(&published("x", "10", "{}"), 10), Order::Gap);
        let bare = Message { headers: None, ..published("12", "10", "{}") };
        assert_eq!(order(&bare, 10), Order::Gap);
    }
}
