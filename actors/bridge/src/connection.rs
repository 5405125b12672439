//! A connection to NATS, and what every use of one needs: a bound on the time, and noticing that
//! the connection was lost and made again.

use std::time::Duration;

use async_nats::client::{FlushError, FlushErrorKind};
use async_nats::connection::State;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{Client, Message, Subscriber, jetstream};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;

use crate::BridgeError;
use crate::log_watch::LogWatch;
use crate::store_health::{StoreHealth, write_error};

/// How long one answer of the server may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// How often the task of a client is asked whether it still runs.
const CLIENT_POLL: Duration = Duration::from_secs(1);

/// A client, which makes a lost connection again by itself; cheap to clone.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// How often the client has connected. Its own task counts, a little late.
    connects: watch::Receiver<u64>,
    /// Of the store behind it.
    pub(crate) health: StoreHealth,
    /// What the readers of signals have seen together.
    pub(crate) log_watch: LogWatch,
}

impl Connection {
    pub(crate) fn new(
        client: Client,
        connects: watch::Receiver<u64>,
        health: StoreHealth,
        log_watch: LogWatch,
    ) -> Self {
        Self { client, connects, health, log_watch }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Returns how often the client has connected.
    pub(crate) fn connects(&self) -> u64 {
        *self.connects.borrow()
    }

    /// Returns the interface to streams and buckets, whose answers are bounded in time.
    pub(crate) fn jetstream(&self) -> jetstream::Context {
        let mut jetstream = jetstream::new(self.client.clone());
        jetstream.set_timeout(REQUEST_TIMEOUT);
        jetstream
    }

    pub(crate) async fn subscribe(&self, subject: String) -> Result<Subscription, BridgeError> {
        let messages = self.client.subscribe(subject).await.map_err(BridgeError::disconnected)?;
        let mut connects = self.connects.clone();
        connects.mark_unchanged();
        Ok(Subscription { messages: Messages::Nats(messages), connects })
    }

    /// Returns what `work` does, or [`BridgeError::TimedOut`] as soon as the connection was lost
    /// and made again: the server does not answer then what it was asked before. `work` is boxed,
    /// for each layer around what is not has room for it twice.
    pub(crate) async fn fail_on_reconnect<T>(
        &self,
        work: impl Future<Output = Result<T, BridgeError>> + Unpin,
    ) -> Result<T, BridgeError> {
        let mut connects = self.connects.clone();
        // The first connect is counted a little late and is no loss.
        let before = (*connects.borrow_and_update()).max(1);
        tokio::select! {
            biased;
            done = work => done,
            Ok(_) = connects.wait_for(|connects| *connects > before) => Err(BridgeError::TimedOut),
        }
    }

    /// Returns when the client's task has ended; nothing else makes a lost connection again.
    pub(crate) async fn ended(&self) {
        // A flush waits as long as the connection is lost, and fails at once without the task.
        let is_gone = |error: FlushError| error.kind() == FlushErrorKind::SendError;
        while !self.client.flush().await.is_err_and(is_gone) {
            tokio::time::sleep(CLIENT_POLL).await;
        }
    }
}

/// What is published on a subject, and the moments in which something may have been missed.
pub(crate) struct Subscription {
    messages: Messages,
    connects: watch::Receiver<u64>,
}

enum Messages {
    Nats(Subscriber),
    #[cfg(feature = "simulation")]
    Simulated(tokio::sync::mpsc::UnboundedReceiver<Message>),
}

impl Messages {
    async fn next(&mut self) -> Option<Message> {
        match self {
            Self::Nats(subscriber) => subscriber.next().await,
            #[cfg(feature = "simulation")]
            Self::Simulated(receiver) => receiver.recv().await,
        }
    }
}

/// What a subscription brings next.
pub(crate) enum Heard {
    Message(Message),
    /// The connection was lost and made again: what was published meanwhile was missed.
    Reconnected,
    /// Nothing comes any more: the client's task has ended.
    Closed,
}

impl Subscription {
    /// Makes the subscription of a simulation: what it brings, and a count of the connects.
    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(
        messages: tokio::sync::mpsc::UnboundedReceiver<Message>,
        mut connects: watch::Receiver<u64>,
    ) -> Self {
        connects.mark_unchanged();
        Self { messages: Messages::Simulated(messages), connects }
    }

    /// Waits for what comes next.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Heard {
        tokio::select! {
            biased;
            message = self.messages.next() => message.map_or(Heard::Closed, Heard::Message),
            connected = self.connects.changed() => match connected {
                Ok(()) => Heard::Reconnected,
                Err(_) => Heard::Closed,
            },
        }
    }

    /// Returns a message that has come already.
    pub(crate) fn try_next(&mut self) -> Option<Message> {
        self.messages.next().now_or_never().flatten()
    }
}

/// Publishes to a stream, waits for the acknowledgement and returns the sequence of the message.
///
/// # Errors
///
/// [`BridgeError::Conflict`] when the message expects another revision of its subject,
/// [`BridgeError::StoreRefused`] when the store has no room for it, and at once while it is off.
pub(crate) async fn publish(
    connection: &Connection,
    jetstream: &jetstream::Context,
    subject: String,
    message: PublishMessage,
) -> Result<u64, BridgeError> {
    let failed = |error: PublishError| match error.kind() {
        PublishErrorKind::WrongLastSequence => BridgeError::Conflict,
        PublishErrorKind::TimedOut => BridgeError::TimedOut,
        PublishErrorKind::MaxPayloadExceeded => BridgeError::StoreRefused(error.to_string()),
        _ => write_error(error),
    };
    connection.health.check()?;
    let written = async {
        let sent = with_timeout(jetstream.send_publish(subject, message)).await?;
        let acknowledged = sent.map_err(failed)?.await;
        acknowledged.map(|ack| ack.sequence).map_err(failed)
    };
    let written = written.await;
    connection.health.on_write(&written);
    written
}

/// Bounds the time of one question to the server.
pub(crate) async fn with_timeout<T>(work: impl IntoFuture<Output = T>) -> Result<T, BridgeError> {
    tokio::time::timeout(REQUEST_TIMEOUT, work).await.map_err(|_| BridgeError::TimedOut)
}

#[cfg(test)]
mod tests {
    use async_nats::ConnectOptions;

    use super::*;

    #[test]
    fn a_client_whose_task_has_ended_is_told_from_one_that_waits_for_its_server() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
        // Nobody listens there; the task tries for ever, as long as its runtime lives.
        let connect = async || {
            let options = ConnectOptions::new().retry_on_initial_connect();
            let client = options.connect("127.0.0.1:1").await.expect("a client");
            Connection::new(client, watch::channel(0).1, Default::default(), Default::default())
        };
        let within = Duration::from_millis(200);
        let (here, there) = (runtime().expect("a runtime"), runtime().expect("another"));
        here.block_on(async {
            let waiting = connect().await;
            assert!(tokio::time::timeout(within, waiting.ended()).await.is_err());
        });
        let lost = there.block_on(connect());
        drop(there);
        here.block_on(async {
            tokio::time::timeout(CLIENT_POLL * 5, lost.ended()).await.expect("it is told");
        });
    }
}
