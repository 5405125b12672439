//! Signals between the instance and the log.

use std::sync::Arc;
use std::time::Instant;

use actix::Message;
use stream_protocol::{Cursor, Direction, Page, Posted, SessionId};
use stream_supervisor::{Handler, Me, Reply};

use crate::SessionsError;
use crate::actor::Actor;

/// Stores signals of the instance.
#[derive(Message)]
#[rtype(result = "Result<Vec<Cursor>, SessionsError>")]
pub(crate) struct Write {
    pub(crate) id: SessionId,
    pub(crate) signals: Vec<Posted>,
}

/// Reads signals for the instance.
#[derive(Message)]
#[rtype(result = "Result<Page, SessionsError>")]
pub(crate) struct Read {
    pub(crate) id: SessionId,
    pub(crate) after: Option<Cursor>,
}

impl Handler<Write> for Actor {
    fn handle(&mut self, write: &Write, _: &Me<Self>) -> Reply<Result<Vec<Cursor>, SessionsError>> {
        let Write { id, signals } = write;
        let bytes = signals.iter().map(|posted| posted.signal.as_str().len()).sum();
        if !self.writes.admit(id, signals.len(), bytes, Instant::now()) {
            return Err(SessionsError::TooMany).into();
        }
        let (unit, id, signals) = (Arc::clone(&self.unit), id.clone(), signals.clone());
        Reply::later(async move {
            let document = unit.read(&id).await?.value;
            if document.status.is_final() {
                return Err(SessionsError::Conflict(format!("session is {}", document.status)));
            }
            let mut cursors = Vec::with_capacity(signals.len());
            for posted in &signals {
                let written = unit.neighbours.bridge.append(&id, Direction::ToClient, posted);
                cursors.push(written.await?);
            }
            Ok(cursors)
        })
    }
}

impl Handler<Read> for Actor {
    fn handle(&mut self, read: &Read, _: &Me<Self>) -> Reply<Result<Page, SessionsError>> {
        let Read { id, after } = read;
        let (unit, id, after) = (Arc::clone(&self.unit), id.clone(), *after);
        Reply::later(async move {
            let generation = match after {
                // The reader tells the generations apart itself.
                Some(_) => 0,
                None => unit.read(&id).await?.value.generation,
            };
            let bridge = &unit.neighbours.bridge;
            Ok(bridge.signals(&id, Direction::ToInstance, after, generation).await?)
        })
    }
}
