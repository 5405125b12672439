//! Signals between the instance and the log.

use std::sync::Arc;

use actix::Message;
use stream_protocol::{Cursor, Direction, NewSignal, SessionDocument, SignalPeer};
use stream_supervisor::{Context, Handler, Reply};
use tokio::time::Instant;

use crate::SessionsError;
use crate::actor::Actor;

/// Stores signals of the instance for one of its peers.
#[derive(Message)]
#[rtype(result = "Result<Vec<Cursor>, SessionsError>")]
pub(crate) struct Write {
    pub(crate) peer: SignalPeer,
    pub(crate) signals: Vec<NewSignal>,
}

impl Handler<Write> for Actor {
    fn handle(
        &mut self,
        write: &Write,
        _: &Context<Self>,
    ) -> Reply<Result<Vec<Cursor>, SessionsError>> {
        let Write { peer, signals } = write;
        let bytes = signals.iter().map(|posted| posted.signal.as_str().len()).sum();
        let now = Instant::now().into_std();
        if !self.shared.writes.try_acquire(&peer.session, signals.len(), bytes, now) {
            return Err(SessionsError::TooMany).into();
        }
        let (context, peer, signals) = (Arc::clone(&self.context), peer.clone(), signals.clone());
        Reply::later(async move {
            let document = context.read(&peer.session).await?.value;
            if document.status.is_final() {
                return Err(SessionsError::Conflict(format!("session is {}", document.status)));
            }
            generation(&document, &peer)?;
            let mut cursors = Vec::with_capacity(signals.len());
            let signal_connection = context.deps.bridge.signals();
            let mut writer = signal_connection.writer(&peer, Direction::ToClient);
            for posted in &signals {
                let received = Instant::now();
                cursors.push(writer.append(posted).await?);
                context.metrics.signal_stored(received.elapsed());
            }
            Ok(cursors)
        })
    }
}

/// Returns the present generation of a peer of the instance.
///
/// # Errors
///
/// [`SessionsError::NoPeer`] when the commands of the instance name no such peer.
pub(crate) fn generation(
    document: &SessionDocument,
    peer: &SignalPeer,
) -> Result<u64, SessionsError> {
    match &peer.share {
        None => Ok(document.generation),
        Some(share) => document.adb.generation(share).ok_or(SessionsError::NoPeer),
    }
}
