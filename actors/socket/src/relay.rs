//! Between a socket and the log.

use std::convert::Infallible;
use std::mem;
use std::time::{Duration, Instant};

use stream_bridge::{BridgeError, SignalConnection, SignalReader};
use stream_protocol::{Cursor, Direction, LoggedSignal, SignalPage, SignalPeer, SignalQuota};
use stream_supervisor::retry_while;

use crate::envelope::ControlFrame;
use crate::metrics::SocketMetrics;
use crate::{CloseCause, CloseCode, FrameFormat, SocketReceiver, SocketSender};

/// How long a signal is kept while NATS is away, before the peer is told that it is lost.
const APPEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Carries the signals of one peer between a socket and the log.
#[derive(Clone)]
pub struct SignalRelay {
    pub signal_connection: SignalConnection,
    pub peer: SignalPeer,
    /// Which way the signals go that the socket brings; it is told those of the other.
    pub direction: Direction,
    pub frames: FrameFormat,
    /// Of the client that the signals belong to.
    pub generation: u64,
    /// Whether the signals of other clients are none of the peer's business.
    pub own_generation_only: bool,
    pub metrics: SocketMetrics,
}

impl SignalRelay {
    /// Writes what the peer says to the log, one signal after the other, as long as `admits` a
    /// further one of so many bytes. Acknowledges signals that came in envelopes. A text that
    /// it `takes` is no signal but for this unit alone, and goes no further.
    pub async fn receive_from_peer(
        &self,
        receiver: &mut SocketReceiver,
        mut admits: impl FnMut(usize) -> bool,
        mut takes: impl FnMut(&str) -> bool,
    ) -> CloseCause {
        let mut writer = self.signal_connection.writer(&self.peer, self.direction);
        let mut wait = self.metrics.wait_for_answer(&self.peer, self.direction);
        loop {
            let heard = async {
                let text = receiver.recv().await?;
                let received = Instant::now();
                if !admits(text.len()) {
                    let sentence = format!("too many signals: at most {}", SignalQuota::limits());
                    return Err(CloseCause::client_error(CloseCode::Policy, sentence));
                }
                if takes(&text) {
                    return Ok(());
                }
                let posted = self.frames.read(text, self.generation)?;
                if self.own_generation_only && posted.generation != self.generation {
                    let sentence = "the signal is of another client";
                    return Err(CloseCause::client_error(CloseCode::Policy, sentence));
                }
                // A repeat has the same id, so it is stored once.
                let append = async || Box::pin(writer.append(&posted)).await;
                let stored = retry_while(APPEND_TIMEOUT, BridgeError::is_transient, append).await;
                let cursor = stored.map_err(rejected)?;
                self.metrics.stored(self.direction, received.elapsed());
                wait.observe(&posted.signal);
                if self.frames != FrameFormat::Bare {
                    let stored = ControlFrame::Stored { id: &posted.id, cursor };
                    receiver.reply(stored.text()).await?;
                }
                Ok(())
            };
            if let Err(end) = heard.await {
                return end;
            }
        }
    }

    /// Tells the peer what the log has for it, from its cursor on or from the beginning of its
    /// generation. A cursor that the log does not know begins anew at the first signal that is
    /// kept.
    pub async fn send_to_peer(&self, sender: SocketSender) -> CloseCause {
        let Err(end) = self.send_pages(sender).await;
        end
    }

    async fn send_pages(&self, mut sender: SocketSender) -> Result<Infallible, CloseCause> {
        let (after, mut start) = match self.frames {
            FrameFormat::Bare => (None, Start::Nothing),
            FrameFormat::Enveloped { after } => (after, Start::Resumed { after }),
        };
        let mut reader = self.reader(after);
        let mut wait = self.metrics.wait_for_answer(&self.peer, self.direction);
        loop {
            let next = async || reader.next().await;
            let page = match retry_while(Duration::MAX, BridgeError::is_transient, next).await {
                Ok(page) => page,
                Err(BridgeError::HistoryGone { .. }) if self.frames != FrameFormat::Bare => {
                    // What is kept came after the peer's cursor, or is in a log it has not seen.
                    reader = self.reader(None);
                    start = Start::HistoryGone;
                    continue;
                }
                Err(error) => return Err(rejected(error)),
            };
            let read = Instant::now();
            if let Some(frame) = mem::replace(&mut start, Start::Nothing).frame(&page) {
                sender.send(frame.text()).await?;
            }
            for logged in page.signals.iter().filter(|logged| self.is_visible(logged)) {
                sender.send(self.frames.write(logged)).await?;
                self.metrics.told(self.other_direction(), read.elapsed());
                wait.observe(&logged.signal);
            }
        }
    }

    fn reader(&self, after: Option<Cursor>) -> SignalReader {
        let direction = self.other_direction();
        self.signal_connection.reader(&self.peer, direction, after, self.generation)
    }

    /// Which way the signals go that the socket is told.
    fn other_direction(&self) -> Direction {
        match self.direction {
            Direction::ToClient => Direction::ToInstance,
            Direction::ToInstance => Direction::ToClient,
        }
    }

    /// A client must never see the candidates of the one before it.
    fn is_visible(&self, logged: &LoggedSignal) -> bool {
        !self.own_generation_only || logged.generation == self.generation
    }
}

/// What a peer has still to be told of where its signals begin.
#[derive(Clone, Copy)]
enum Start {
    Nothing,
    /// They go on after the cursor it came with, or begin.
    Resumed {
        after: Option<Cursor>,
    },
    /// They begin at the first one that is kept, not at its cursor.
    HistoryGone,
}

impl Start {
    /// Returns what the peer is told before `page`.
    fn frame(self, page: &SignalPage) -> Option<ControlFrame<'static>> {
        match self {
            Self::Nothing => None,
            Self::Resumed { after } => {
                Some(ControlFrame::Resumed { cursor: initial_cursor(page, after) })
            }
            Self::HistoryGone => {
                Some(ControlFrame::HistoryGone { cursor: initial_cursor(page, None) })
            }
        }
    }
}

/// Where a reader that begins with `page` stands before it.
fn initial_cursor(page: &SignalPage, after: Option<Cursor>) -> Cursor {
    let before_first = page
        .signals
        .first()
        .map(|first| Cursor { sequence: first.cursor.sequence.saturating_sub(1), ..first.cursor });
    after.or(before_first).unwrap_or(page.cursor)
}

fn rejected(error: BridgeError) -> CloseCause {
    CloseCause::rejected(error.refusal())
}

#[cfg(test)]
mod tests {
    use stream_protocol::Signal;

    use super::*;

    #[test]
    fn a_reader_without_a_cursor_learns_one_that_leaves_nothing_out() {
        let cursor = |sequence| Cursor { epoch: 7, sequence };
        let empty = SignalPage { cursor: cursor(9), signals: Vec::new() };
        assert_eq!(initial_cursor(&empty, None), cursor(9));
        assert_eq!(initial_cursor(&empty, Some(cursor(5))), cursor(5));
        let signal = Signal::parse(r#"{"type":"x"}"#.to_owned()).expect("a signal");
        let first = LoggedSignal { cursor: cursor(4), generation: 0, signal };
        let page = SignalPage { cursor: cursor(4), signals: vec![first] };
        assert_eq!(initial_cursor(&page, None), cursor(3));
    }

    #[test]
    fn a_peer_is_told_before_its_signals_where_they_begin() {
        let cursor = |sequence| Cursor { epoch: 35, sequence };
        let page = SignalPage { cursor: cursor(9), signals: Vec::new() };
        let told = |start: Start| start.frame(&page).map(|frame| frame.text());
        assert_eq!(told(Start::Nothing), None);
        let resumed = told(Start::Resumed { after: Some(cursor(5)) });
        assert_eq!(resumed.as_deref(), Some(r#"{"type":"resumed","cursor":"z-5"}"#));
        let gone = told(Start::HistoryGone);
        assert_eq!(gone.as_deref(), Some(r#"{"type":"history_gone","cursor":"z-9"}"#));
    }
}
