//! Signals between the instance and the log.

use std::sync::Arc;
use std::time::Instant;

use actix::Message;
use stream_protocol::{Cursor, Direction, NewSignal, SessionId};
use stream_supervisor::{Context, Handler, Reply};

use crate::SessionsError;
use crate::actor::Actor;

/// Stores signals of the instance.
#[derive(Message)]
#[rtype(result = "Result<Vec<Cursor>, SessionsError>")]
pub(crate) struct Write {
    pub(crate) id: SessionId,
    pub(crate) signals: Vec<NewSignal>,
}

impl Handler<Write> for Actor {
    fn handle(
        &mut self,
        write: &Write,
        _: &Context<Self>,
    ) -> Reply<Result<Vec<Cursor>, SessionsError>> {
        let Write { id, signals } = write;
        let bytes = signals.iter().map(|posted| posted.signal.as_str().len()).sum();
        if !self.shared.writes.try_acquire(id, signals.len(), bytes, Instant::now()) {
            return Err(SessionsError::TooMany).into();
        }
        let (context, id, signals) = (Arc::clone(&self.context), id.clone(), signals.clone());
        Reply::later(async move {
            let document = context.read(&id).await?.value;
            if document.status.is_final() {
                return Err(SessionsError::Conflict(format!("session is {}", document.status)));
            }
            let mut cursors = Vec::with_capacity(signals.len());
            let signal_connection = context.deps.bridge.signals();
            let mut writer = signal_connection.writer(&id, Direction::ToClient);
            for posted in &signals {
                cursors.push(writer.append(posted).await?);
            }
            Ok(cursors)
        })
    }
}
