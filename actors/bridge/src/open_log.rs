//! The signal log as whoever reads and writes it has it: that of NATS or, in a simulation, what
//! stands in for it.

use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use stream_protocol::{Cursor, SignalPage};

use crate::BridgeError;
use crate::connection::{Subscription, publish};
use crate::signal_log::{SignalLog, Tail};
#[cfg(feature = "simulation")]
use crate::simulated_log::SimulatedLog;

/// Cheap to clone. What is under way fails with [`BridgeError::TimedOut`] as soon as the connection
/// was lost and made again: the server does not answer then what it was asked before.
#[derive(Clone)]
#[cfg_attr(
    feature = "simulation",
    expect(clippy::large_enum_variant, reason = "there is no other variant in a service")
)]
pub(crate) enum OpenLog {
    Nats(SignalLog),
    #[cfg(feature = "simulation")]
    Simulated(SimulatedLog),
}

impl OpenLog {
    pub(crate) fn is_connected(&self) -> bool {
        match self {
            Self::Nats(log) => log.is_connected(),
            #[cfg(feature = "simulation")]
            Self::Simulated(log) => log.is_connected(),
        }
    }

    /// Subscribes to what is published live on a subject.
    pub(crate) async fn subscribe(&self, subject: String) -> Result<Subscription, BridgeError> {
        match self {
            Self::Nats(log) => log.connection.subscribe(subject).await,
            #[cfg(feature = "simulation")]
            Self::Simulated(log) => log.subscribe(subject).await,
        }
    }

    /// Returns the epoch of the log, as [`SignalLog::epoch`] does.
    pub(crate) async fn epoch(&self) -> Result<u64, BridgeError> {
        match self {
            Self::Nats(log) => log.epoch().await,
            #[cfg(feature = "simulation")]
            Self::Simulated(log) => log.epoch().await,
        }
    }

    /// Returns where `subject` ends, as [`SignalLog::tail`] does.
    pub(crate) async fn tail(&self, subject: &str) -> Option<Tail> {
        match self {
            Self::Nats(log) => log.tail(subject).await,
            #[cfg(feature = "simulation")]
            Self::Simulated(log) => log.tail(subject).await,
        }
    }

    /// Stores a signal under an id, and returns its sequence. Refuses when the last one kept on
    /// the subject is not the one `expected`.
    pub(crate) async fn append(
        &self,
        subject: &str,
        id: &str,
        payload: Bytes,
        expected: Option<u64>,
    ) -> Result<u64, BridgeError> {
        match self {
            Self::Nats(log) => {
                let mut message = PublishMessage::build().payload(payload).message_id(id);
                if let Some(kept) = expected {
                    message = message.expected_last_subject_sequence(kept);
                }
                let write = publish(&log.connection, &log.jetstream, subject.to_owned(), message);
                log.connection.fail_on_reconnect(Box::pin(write)).await
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(log) => log.append(subject, id, payload, expected).await,
        }
    }

    /// Reads signals of one subject, as [`SignalLog::page`] does.
    pub(crate) async fn page(
        &self,
        subject: &str,
        after: Option<Cursor>,
        generation: u64,
    ) -> Result<SignalPage, BridgeError> {
        match self {
            Self::Nats(log) => {
                let read = log.page(subject, after, generation);
                log.connection.fail_on_reconnect(Box::pin(read)).await
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(log) => log.page(subject, after, generation).await,
        }
    }

    /// Returns the cursor of a reader without reading, as [`SignalLog::skip_quiet`] does.
    pub(crate) async fn skip_quiet(
        &self,
        subject: &str,
        after: Cursor,
    ) -> Result<Option<Cursor>, BridgeError> {
        match self {
            Self::Nats(log) => {
                let moved = log.skip_quiet(subject, after);
                log.connection.fail_on_reconnect(Box::pin(moved)).await
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(log) => log.skip_quiet(after).await,
        }
    }
}
