//! The two sockets of an instance, and the calls that go over them.

use std::sync::Arc;

use stream_protocol::{Commands, Cursor, NewSignal, SignalPage};
use tokio::sync::{mpsc, oneshot};

use super::agent_socket::Reply;
use super::control_socket::{ControlCall, ControlSocket};
use super::signaling_socket::{SignalingCall, SignalingSocket};
use super::transport::Router;
use crate::https::{CallError, Https};

/// Carries calls while [`Sockets::run`] is polled.
pub(super) struct Sockets {
    control: ControlSocket,
    signaling: SignalingSocket,
}

/// Makes calls. Each is answered with `None` when the transport has changed meanwhile: what it
/// wanted may or may not have been done, and it is to be made anew.
pub(super) struct SocketCalls {
    control: mpsc::Sender<(Arc<Https>, ControlCall)>,
    signaling: mpsc::Sender<(Arc<Https>, SignalingCall)>,
}

impl Sockets {
    /// Returns the sockets of the session at the path `session`; none is open yet.
    pub(super) fn new(session: &str, router: &Router) -> (Self, SocketCalls) {
        let (control, control_calls) = ControlSocket::new(session, router.watch());
        let (signaling, signaling_calls) = SignalingSocket::new(session, router.watch());
        let calls = SocketCalls { control: control_calls, signaling: signaling_calls };
        (Self { control, signaling }, calls)
    }

    /// Carries calls until nobody can make any.
    pub(super) async fn run(self) {
        tokio::join!(self.control.run(), self.signaling.run());
    }
}

impl SocketCalls {
    /// Returns the commands, as soon as they differ from revision `after`, or the agents from the
    /// version `agents`.
    pub(super) async fn commands(
        &self,
        agent: &Arc<Https>,
        after: Option<u64>,
        agents: Option<String>,
    ) -> Result<Option<Commands>, CallError> {
        let call = |reply| ControlCall::Commands { after, agents, reply };
        ask(&self.control, agent, call).await
    }

    /// Hands in a report, a JSON text.
    pub(super) async fn report(
        &self,
        agent: &Arc<Https>,
        report: &str,
    ) -> Result<Option<()>, CallError> {
        let text = report.to_owned();
        ask(&self.control, agent, |reply| ControlCall::Report { text, reply }).await
    }

    /// Returns the signals after `after`, as soon as there are any.
    pub(super) async fn read(
        &self,
        agent: &Arc<Https>,
        after: Option<Cursor>,
    ) -> Result<Option<SignalPage>, CallError> {
        ask(&self.signaling, agent, |reply| SignalingCall::Read { after, reply }).await
    }

    /// Writes signals, and returns once the log has stored them all.
    pub(super) async fn write(
        &self,
        agent: &Arc<Https>,
        signals: &[NewSignal],
    ) -> Result<Option<()>, CallError> {
        let signals = signals.to_vec();
        ask(&self.signaling, agent, |reply| SignalingCall::Write { signals, reply }).await
    }
}

async fn ask<C, T>(
    calls: &mpsc::Sender<(Arc<Https>, C)>,
    agent: &Arc<Https>,
    call: impl FnOnce(Reply<T>) -> C,
) -> Result<Option<T>, CallError> {
    let gone = || CallError::Closed { message: "the instance ends".to_owned(), retry_after: None };
    let (reply, answer) = oneshot::channel();
    calls.send((Arc::clone(agent), call(reply))).await.map_err(|_| gone())?;
    answer.await.unwrap_or_else(|_| Err(gone()))
}
