//! The control socket of an instance: commands come over it, and reports go.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Deserialize;
use stream_protocol::Commands;
use tokio::sync::{mpsc, watch};

use super::agent_socket::{AgentSocket, Frame, Reply, SocketEnd, next};
use super::transport::Route;
use crate::https::{CallError, Https};

/// Far more than commands that name all agents of a large cluster.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// The code of a report that does not fit the session, as over REST.
const CONFLICT: u16 = 409;

pub(super) enum ControlCall {
    /// Asks for commands of another revision than `after`, or at once for the present ones.
    Commands { after: Option<u64>, agents: Option<String>, reply: Reply<Commands> },
    /// Hands in a report, which counts once the agent has taken it.
    Report { text: String, reply: Reply<()> },
}

/// Carries calls over a socket that is opened for the first of them, as long as [`Self::run`] is
/// polled.
pub(super) struct ControlSocket {
    path: String,
    calls: mpsc::Receiver<(Arc<Https>, ControlCall)>,
    route: watch::Receiver<Route>,
    open: Option<Open>,
    /// The revision of the commands that were handed over last, and the version of their agents.
    known: (Option<u64>, Option<String>),
}

struct Open {
    socket: AgentSocket,
    /// Commands that nobody has asked for yet; older ones do not matter any more.
    latest: Option<Commands>,
    asker: Option<Reply<Commands>>,
    /// Reports under way, each with the number of the ping behind it.
    reports: VecDeque<(u64, Reply<()>)>,
    pings: u64,
}

/// What the socket says beside commands, which have no `type`.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Notice {
    /// The oldest report under way is refused.
    Refused { message: String },
    #[serde(other)]
    Other,
}

impl ControlSocket {
    /// Returns the socket of the session at `session`, and where its calls go.
    pub(super) fn new(
        session: &str,
        route: watch::Receiver<Route>,
    ) -> (Self, mpsc::Sender<(Arc<Https>, ControlCall)>) {
        let (sender, calls) = mpsc::channel(1);
        let path = format!("{session}/sockets/control");
        (Self { path, calls, route, open: None, known: (None, None) }, sender)
    }

    /// Carries calls until nobody can make any.
    pub(super) async fn run(mut self) {
        loop {
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
            }
        }
    }

    async fn on_route(&mut self) {
        if *self.route.borrow_and_update() == Route::Rest {
            self.close().await;
        }
    }

    async fn on_call(&mut self, agent: Arc<Https>, call: ControlCall) {
        if *self.route.borrow() == Route::Rest {
            return call.ask_anew();
        }
        let is_at = |after: &Option<u64>| self.known.0 == *after;
        let fits = self.open.as_ref().is_some_and(|open| open.socket.leads_to(&agent))
            && !matches!(&call, ControlCall::Commands { after, .. } if !is_at(after));
        if !fits {
            self.close().await;
            if let ControlCall::Commands { after, agents, .. } = &call {
                self.known = (*after, agents.clone());
            }
            match AgentSocket::open(agent, &self.query(), MAX_MESSAGE_BYTES).await {
                Ok(socket) => self.open = Some(Open::new(socket)),
                Err(error) => return call.fail(error),
            }
        }
        let Some(open) = &mut self.open else { return };
        match call {
            ControlCall::Commands { reply, .. } => open.asker = Some(reply),
            ControlCall::Report { text, reply } => {
                if let Err(end) = open.report(text, reply).await {
                    return self.end(&end);
                }
            }
        }
        self.hand_over();
    }

    fn on_frame(&mut self, frame: Result<Frame, SocketEnd>) {
        let Some(open) = &mut self.open else { return };
        match frame {
            Ok(Frame::Text(text)) => open.on_text(&text),
            Ok(Frame::Pong(number)) => open.on_pong(number),
            Err(end) => return self.end(&end),
        }
        self.hand_over();
    }

    /// Gives the commands that are there to whoever asked for some.
    fn hand_over(&mut self) {
        let Some(open) = &mut self.open else { return };
        if let Some(asker) = open.asker.take_if(|_| open.latest.is_some())
            && let Some(commands) = open.latest.take()
        {
            self.known = (Some(commands.revision), Some(commands.agents_version.clone()));
            // One who has gone meanwhile asks for the same again.
            let _ = asker.send(Ok(Some(commands)));
        }
    }

    /// The socket is no more: everybody who waits on it is told.
    fn end(&mut self, end: &SocketEnd) {
        if let Some(Open { asker, reports, .. }) = self.open.take() {
            asker.into_iter().for_each(|asker| drop(asker.send(Err(end.clone().into()))));
            reports.into_iter().for_each(|(_, report)| drop(report.send(Err(end.clone().into()))));
        }
    }

    /// Closes the socket; everybody who waits on it is to ask anew.
    async fn close(&mut self) {
        if let Some(Open { socket, asker, reports, .. }) = self.open.take() {
            asker.into_iter().for_each(|asker| drop(asker.send(Ok(None))));
            reports.into_iter().for_each(|(_, report)| drop(report.send(Ok(None))));
            socket.close().await;
        }
    }

    /// The path with what is known; numbers and versions need no escaping.
    fn query(&self) -> String {
        let (after, agents) = &self.known;
        let after = after.map(|after| format!("after={after}"));
        let agents = agents.as_ref().map(|version| format!("agents={version}"));
        let query: Vec<_> = after.into_iter().chain(agents).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{mark}{}", self.path, query.join("&"))
    }
}

impl ControlCall {
    fn ask_anew(self) {
        match self {
            Self::Commands { reply, .. } => drop(reply.send(Ok(None))),
            Self::Report { reply, .. } => drop(reply.send(Ok(None))),
        }
    }

    fn fail(self, error: CallError) {
        match self {
            Self::Commands { reply, .. } => drop(reply.send(Err(error))),
            Self::Report { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

impl Open {
    fn new(socket: AgentSocket) -> Self {
        Self { socket, latest: None, asker: None, reports: VecDeque::new(), pings: 0 }
    }

    async fn report(&mut self, text: String, reply: Reply<()>) -> Result<(), SocketEnd> {
        self.pings += 1;
        self.reports.push_back((self.pings, reply));
        self.socket.send(text).await?;
        self.socket.ping(self.pings).await
    }

    fn on_text(&mut self, text: &str) {
        if let Ok(commands) = serde_json::from_str(text) {
            self.latest = Some(commands);
        } else if let Ok(Notice::Refused { message }) = serde_json::from_str(text)
            && let Some((_, report)) = self.reports.pop_front()
        {
            let refused = CallError::Refused { status: CONFLICT, retry_after: None, message };
            let _ = report.send(Err(refused));
        }
    }

    fn on_pong(&mut self, number: u64) {
        while let Some((_, report)) = self.reports.pop_front_if(|(ping, _)| *ping <= number) {
            let _ = report.send(Ok(Some(())));
        }
    }
}
