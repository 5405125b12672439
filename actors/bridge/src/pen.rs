//! Writing one direction of a session's signals.
//!
//! A pen keeps the connection it was lent, so that a signal need not pass through the mailbox of
//! the actor, which was measured to cost a tenth of its way to the other end and back.

use actix::Message;
use async_nats::connection::State;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use stream_protocol::{Cursor, Direction, Posted, SessionId, StoredSignal, Versioned, subjects};
use stream_supervisor::{Handler, Me, Reply};

use crate::actor::{Actor, Connected};
use crate::{Bridge, BridgeError, signals};

/// How often a write that was not acknowledged is repeated; the id makes that harmless.
const TRIES: usize = 3;

/// Lends the connection, as it stands.
#[derive(Message)]
#[rtype(result = "Result<Connected, BridgeError>")]
pub(crate) struct Borrow;

impl Handler<Borrow> for Actor {
    fn handle(&mut self, _: &Borrow, _: &Me<Self>) -> Reply<Result<Connected, BridgeError>> {
        self.lend().into()
    }
}

/// Writes the signals of one session in one direction; made by [`Bridge::pen`].
pub struct Pen {
    bridge: Bridge,
    subject: String,
    /// What comes before the id of a signal, for the log.
    prefix: String,
    lent: Option<Connected>,
}

impl Pen {
    pub(crate) fn new(bridge: Bridge, session: &SessionId, direction: Direction) -> Self {
        // The window of ids is the stream's, not the subject's.
        let prefix = format!("{session}.{direction}");
        Self { bridge, subject: subjects::signal(session, direction), prefix, lent: None }
    }

    /// Stores a signal and returns its cursor once the log has acknowledged it. The same id written
    /// again is stored once and answered with the first cursor. After an error the next call tries
    /// with the connection of then.
    pub async fn append(&mut self, posted: &Posted) -> Result<Cursor, BridgeError> {
        let Posted { id, generation, signal } = posted;
        let stored = StoredSignal { generation: *generation, signal: signal.clone() };
        let payload: Bytes = Versioned::encode(stored).into();
        let message_id = format!("{}.{generation}.{}", self.prefix, id.as_str());
        let nats = self.connection().await?;
        let mut tries = 1;
        let written = loop {
            let message = PublishMessage::build().payload(payload.clone()).message_id(&message_id);
            let write = signals::write(&nats, &self.subject, message);
            match nats.unless_lost(write).await {
                Err(BridgeError::TimedOut) if tries < TRIES => tries += 1,
                written => break written,
            }
        };
        let cursor = match written {
            Ok(sequence) => signals::epoch(&nats).await.map(|epoch| Cursor { epoch, sequence }),
            Err(error) => Err(error),
        };
        if cursor.is_ok() {
            self.lent = Some(nats);
        }
        cursor
    }

    /// Takes the connection that was lent, or another one if it does not stand.
    async fn connection(&mut self) -> Result<Connected, BridgeError> {
        let stands = |nats: &Connected| nats.client.connection_state() == State::Connected;
        match self.lent.take().filter(stands) {
            Some(nats) => Ok(nats),
            None => self.bridge.0.ask(Borrow).await?,
        }
    }
}
