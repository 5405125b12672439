//! The signaling socket of an instance: signals both ways, each in an envelope.

use std::collections::HashSet;
use std::future;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use stream_protocol::{Cursor, LoggedSignal, MAX_SIGNAL_BYTES, NewSignal, SignalId, SignalPage};
use tokio::sync::{mpsc, watch};
use tokio::time::{self, Instant};

use super::agent_socket::{AgentSocket, Frame, Reply, SocketEnd, next};
use super::transport::Route;
use crate::https::{CallError, Https};

/// What an envelope may add to a signal, in bytes.
const ENVELOPE_OVERHEAD: usize = 1024;

/// A socket that nobody reads from or writes to is closed after this time.
const UNUSED_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) enum SignalingCall {
    /// Asks for the signals after `after`; without it, for all of the present generation.
    Read { after: Option<Cursor>, reply: Reply<SignalPage> },
    /// Hands in signals, which count once the log has stored them all.
    Write { signals: Vec<NewSignal>, reply: Reply<()> },
}

/// Carries calls over a socket that is opened for the first of them, as long as [`Self::run`] is
/// polled.
pub(super) struct SignalingSocket {
    path: String,
    calls: mpsc::Receiver<(Arc<Https>, SignalingCall)>,
    route: watch::Receiver<Route>,
    open: Option<Open>,
    /// What the reader was given last. It belongs to the reader, who may have come on elsewhere.
    position: Option<Cursor>,
}

struct Open {
    socket: AgentSocket,
    state: State,
    used: Instant,
}

/// What came and went over one socket.
#[derive(Default)]
struct State {
    /// What the reader has not been given yet.
    page: Option<SignalPage>,
    reader: Option<Reply<SignalPage>>,
    /// Those who wait until the last of their signals is stored.
    writers: Vec<(HashSet<SignalId>, Reply<()>)>,
}

/// What the socket says of itself; only signals come without a `type`.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Notice {
    Resumed {
        cursor: Cursor,
    },
    HistoryGone {
        cursor: Cursor,
    },
    Stored {
        id: SignalId,
    },
    #[serde(other)]
    Other,
}

impl SignalingSocket {
    /// Returns the socket of the session at `session`, and where its calls go.
    pub(super) fn new(
        session: &str,
        route: watch::Receiver<Route>,
    ) -> (Self, mpsc::Sender<(Arc<Https>, SignalingCall)>) {
        let (sender, calls) = mpsc::channel(1);
        let path = format!("{session}/sockets/master");
        (Self { path, calls, route, open: None, position: None }, sender)
    }

    /// Carries calls until nobody can make any.
    pub(super) async fn run(mut self) {
        loop {
            let unused = self.open.as_ref().and_then(Open::unused_until);
            tokio::select! {
                call = self.calls.recv() => match call {
                    Some((agent, call)) => self.on_call(agent, call).await,
                    None => return,
                },
                frame = next(self.open.as_mut().map(|open| &mut open.socket)) => self.on_frame(frame),
                changed = self.route.changed() => match changed {
                    Ok(()) => self.on_route().await,
                    Err(_) => return,
                },
                () = reached(unused) => self.close().await,
            }
        }
    }

    async fn on_route(&mut self) {
        if *self.route.borrow_and_update() == Route::Rest {
            self.close().await;
        }
    }

    async fn on_call(&mut self, agent: Arc<Https>, call: SignalingCall) {
        if *self.route.borrow() == Route::Rest {
            return call.ask_anew();
        }
        let position = match &call {
            SignalingCall::Read { after, .. } => *after,
            SignalingCall::Write { .. } => self.position,
        };
        let fits = self.open.as_ref().is_some_and(|open| open.socket.leads_to(&agent))
            && position == self.position;
        if !fits {
            self.close().await;
            self.position = position;
            let after = position.map(String::from).unwrap_or_default();
            let path = format!("{}?after={after}", self.path);
            match AgentSocket::open(agent, &path, MAX_SIGNAL_BYTES + ENVELOPE_OVERHEAD).await {
                Ok(socket) => self.open = Some(Open::new(socket)),
                Err(error) => return call.fail(error),
            }
        }
        let Some(open) = &mut self.open else { return };
        open.used = Instant::now();
        match call {
            SignalingCall::Read { reply, .. } => open.state.reader = Some(reply),
            SignalingCall::Write { signals, reply } => {
                if let Err(end) = open.write(signals, reply).await {
                    return self.end(&end);
                }
            }
        }
        self.hand_over();
    }

    fn on_frame(&mut self, frame: Result<Frame, SocketEnd>) {
        let Some(open) = &mut self.open else { return };
        match frame {
            Ok(Frame::Text(text)) => open.state.on_text(&text),
            Ok(Frame::Pong(_)) => {}
            Err(end) => return self.end(&end),
        }
        self.hand_over();
    }

    fn hand_over(&mut self) {
        if let Some(open) = &mut self.open
            && let Some((reader, page)) = open.state.take_page()
        {
            self.position = Some(page.cursor);
            open.used = Instant::now();
            // One who has gone meanwhile was given nothing, and asks from where it is.
            let _ = reader.send(Ok(Some(page)));
        }
    }

    /// The socket is no more: everybody who waits on it is told.
    fn end(&mut self, end: &SocketEnd) {
        if let Some(Open { state: State { reader, writers, .. }, .. }) = self.open.take() {
            reader.into_iter().for_each(|reader| drop(reader.send(Err(end.clone().into()))));
            writers.into_iter().for_each(|(_, writer)| drop(writer.send(Err(end.clone().into()))));
        }
    }

    /// Closes the socket; everybody who waits on it is to ask anew.
    async fn close(&mut self) {
        if let Some(Open { socket, state, .. }) = self.open.take() {
            state.reader.into_iter().for_each(|reader| drop(reader.send(Ok(None))));
            state.writers.into_iter().for_each(|(_, writer)| drop(writer.send(Ok(None))));
            socket.close().await;
        }
    }
}

impl SignalingCall {
    fn ask_anew(self) {
        match self {
            Self::Read { reply, .. } => drop(reply.send(Ok(None))),
            Self::Write { reply, .. } => drop(reply.send(Ok(None))),
        }
    }

    fn fail(self, error: CallError) {
        match self {
            Self::Read { reply, .. } => drop(reply.send(Err(error))),
            Self::Write { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

impl Open {
    fn new(socket: AgentSocket) -> Self {
        Self { socket, state: State::default(), used: Instant::now() }
    }

    /// Returns when it has been unused for long enough, unless somebody waits on it.
    fn unused_until(&self) -> Option<Instant> {
        let State { reader, writers, .. } = &self.state;
        // Who waits no more has dropped the other end.
        let is_read = reader.as_ref().is_some_and(|reader| !reader.is_closed());
        let is_written = writers.iter().any(|(_, writer)| !writer.is_closed());
        (!is_read && !is_written).then(|| self.used + UNUSED_TIMEOUT)
    }

    async fn write(&mut self, signals: Vec<NewSignal>, reply: Reply<()>) -> Result<(), SocketEnd> {
        let ids = signals.iter().map(|signal| signal.id.clone()).collect();
        self.state.writers.push((ids, reply));
        for signal in signals {
            let text = serde_json::to_string(&signal).expect("signals serialize");
            self.socket.send(text).await?;
        }
        Ok(())
    }
}

impl State {
    fn on_text(&mut self, text: &str) {
        if let Ok(signal) = serde_json::from_str(text) {
            return self.on_signal(signal);
        }
        match serde_json::from_str(text) {
            Ok(Notice::Resumed { cursor }) => self.begin_at(cursor),
            Ok(Notice::HistoryGone { cursor }) => {
                log::warn!("signals after the last one are no longer kept");
                self.begin_at(cursor);
            }
            Ok(Notice::Stored { id }) => self.on_stored(&id),
            Ok(Notice::Other) => {}
            Err(error) => log::debug!(error:%; "frame ignored"),
        }
    }

    fn begin_at(&mut self, cursor: Cursor) {
        self.page = Some(SignalPage { cursor, signals: Vec::new() });
    }

    fn on_signal(&mut self, signal: LoggedSignal) {
        let cursor = signal.cursor;
        let page = self.page.get_or_insert(SignalPage { cursor, signals: Vec::new() });
        page.cursor = cursor;
        page.signals.push(signal);
    }

    fn on_stored(&mut self, id: &SignalId) {
        for (ids, _) in &mut self.writers {
            ids.remove(id);
        }
        for (_, writer) in self.writers.extract_if(.., |(ids, _)| ids.is_empty()) {
            let _ = writer.send(Ok(Some(())));
        }
    }

    /// Returns the reader and what it is to be given, when there are both.
    fn take_page(&mut self) -> Option<(Reply<SignalPage>, SignalPage)> {
        let reader = self.reader.take_if(|_| self.page.is_some())?;
        Some((reader, self.page.take()?))
    }
}

/// Waits for `moment`; for ever without one.
async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => time::sleep_until(moment).await,
        None => future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn cursor(sequence: u64) -> Cursor {
        Cursor { epoch: 35, sequence }
    }

    #[test]
    fn a_reader_is_given_what_came_before_and_after_it_asked() {
        let mut state = State::default();
        state.on_text(r#"{"type":"resumed","cursor":"z-4"}"#);
        state.on_text(r#"{"cursor":"z-5","generation":2,"signal":{"type":"answer"}}"#);
        assert!(state.take_page().is_none(), "nobody asked");
        let (reply, _waits) = oneshot::channel();
        state.reader = Some(reply);
        let (_, page) = state.take_page().expect("a page");
        assert_eq!((page.cursor, page.signals.len()), (cursor(5), 1));
        let (reply, _waits) = oneshot::channel();
        state.reader = Some(reply);
        assert!(state.take_page().is_none(), "nothing new");
        state.on_text(r#"{"type":"history_gone","cursor":"z-9"}"#);
        let (_, page) = state.take_page().expect("a page");
        assert_eq!((page.cursor, page.signals.len()), (cursor(9), 0));
    }

    #[test]
    fn a_writer_waits_until_its_last_signal_is_stored() {
        let id = |text: &str| text.parse::<SignalId>().expect("an id");
        let (reply, mut waits) = oneshot::channel();
        let mut state = State::default();
        state.writers.push(([id("a"), id("b")].into(), reply));
        for stored in ["b", "b", "c"] {
            state.on_text(&format!(r#"{{"type":"stored","id":"{stored}","cursor":"z-5"}}"#));
            assert!(waits.try_recv().is_err(), "{stored}");
        }
        state.on_text(r#"{"type":"stored","id":"a","cursor":"z-6"}"#);
        assert!(matches!(waits.try_recv(), Ok(Ok(Some(())))));
    }
}
