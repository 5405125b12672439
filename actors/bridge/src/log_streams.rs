//! The streams behind the signal log as they are asked: those of NATS or, in a simulation, what
//! stands in for them. What any server of a cluster answers may lag behind the one that leads.

use std::sync::Arc;

use async_nats::jetstream;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{Info, LastRawMessageErrorKind, Stream};
use bytes::Bytes;
use stream_protocol::{error_chain, subjects};

use crate::BridgeError;
use crate::batch::{self, Batch, StoredMessage};
use crate::connection::{Connection, Subscription, publish, with_timeout};
use crate::log_bounds::{Bounds, Copies};
use crate::log_watch::LogWatch;
#[cfg(feature = "simulation")]
use crate::simulated_log::SimulatedStreams;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) enum LogStreams {
    Nats(Arc<NatsStreams>),
    #[cfg(feature = "simulation")]
    Simulated(SimulatedStreams),
}

/// The streams over one connection.
pub(crate) struct NatsStreams {
    connection: Connection,
    jetstream: jetstream::Context,
    signals: Stream,
    ends: Stream,
}

/// Has whichever streams there are answer.
macro_rules! ask {
    ($streams:expr, $nats:ident => $answer:expr, $simulated:ident => $simulation:expr) => {
        match $streams {
            LogStreams::Nats($nats) => $answer,
            #[cfg(feature = "simulation")]
            LogStreams::Simulated($simulated) => $simulation,
        }
    };
}

impl LogStreams {
    pub(crate) async fn open(connection: Connection) -> Result<Self, String> {
        let jetstream = connection.jetstream();
        let open = async |name| {
            let stream = jetstream.get_stream(name).await;
            stream.map_err(|error| format!("stream {name}: {}", error_chain(&error)))
        };
        let (ends, signals) = (open(subjects::SIGNAL_ENDS).await?, open(subjects::SIGNALS).await?);
        Ok(Self::Nats(Arc::new(NatsStreams { connection, jetstream, signals, ends })))
    }

    pub(crate) fn is_connected(&self) -> bool {
        ask!(self, nats => nats.connection.is_connected(), one => one.is_connected())
    }

    /// Returns how often the connection was made.
    pub(crate) fn connects(&self) -> u64 {
        ask!(self, nats => nats.connection.connects(), one => one.connects())
    }

    /// What the readers of the process have seen together.
    pub(crate) fn watch(&self) -> &LogWatch {
        ask!(self, nats => &nats.connection.log_watch, one => &one.watch)
    }

    /// Subscribes to what is published live on a subject.
    pub(crate) async fn subscribe(&self, subject: String) -> Result<Subscription, BridgeError> {
        ask!(self, nats => nats.connection.subscribe(subject).await,
            one => one.subscribe(subject).await)
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
        ask!(self, nats => nats.append(subject, id, payload, expected).await,
            one => one.append(subject, id, payload, expected).await)
    }

    /// Returns what `work` does, as [`Connection::fail_on_reconnect`] does. Whatever a simulated
    /// server is asked ends so by itself.
    pub(crate) async fn fail_on_reconnect<T>(
        &self,
        work: impl Future<Output = Result<T, BridgeError>> + Unpin,
    ) -> Result<T, BridgeError> {
        ask!(self, nats => nats.connection.fail_on_reconnect(work).await, _one => work.await)
    }

    /// Returns signals of `subject` from sequence `from` on. Any server answers.
    pub(crate) async fn batch(&self, subject: &str, from: u64) -> Result<Batch, BridgeError> {
        ask!(self,
            nats => batch::get(&nats.connection.client, subjects::SIGNALS, subject, from).await,
            one => one.batch(subject, from).await)
    }

    /// Returns the last signal of each of `of` whose sequence is `from` or more. Any server
    /// answers.
    pub(crate) async fn last_of(&self, of: &[&str], from: u64) -> Result<Batch, BridgeError> {
        ask!(self,
            nats => batch::get_last(&nats.connection.client, subjects::SIGNALS, of, from).await,
            one => one.last_of(of, from).await)
    }

    /// Returns the first signal of `subject` from sequence `from` on, as the server says that
    /// leads.
    pub(crate) async fn first(
        &self,
        subject: &str,
        from: u64,
    ) -> Result<Option<StoredMessage>, BridgeError> {
        ask!(self, nats => nats.first(subject, from).await, one => one.first(subject, from).await)
    }

    /// Returns the sequence of the last signal of `subject` that is kept, as the server says that
    /// leads.
    pub(crate) async fn last(&self, subject: &str) -> Result<Option<u64>, BridgeError> {
        ask!(self, nats => nats.last(subject).await, one => one.last(subject).await)
    }

    /// Returns where the log reaches, as the server says that leads.
    pub(crate) async fn bounds(&self) -> Result<Bounds, BridgeError> {
        ask!(self, nats => nats.bounds().await, one => one.bounds().await)
    }

    /// When the stream of the copies was made, as far as was known when it was opened, in Unix
    /// nanoseconds.
    pub(crate) fn copied_since(&self) -> u64 {
        ask!(self, nats => created_at(nats.ends.cached_info()), one => one.copied_since())
    }

    /// Returns from where to where the copies of the last signals reach.
    pub(crate) async fn copies(&self) -> Result<Copies, BridgeError> {
        ask!(self, nats => nats.copies().await, one => one.copies().await)
    }

    /// Returns the sequence in the log of the last signal of `subject` that was copied: none when
    /// none was, and 0 when the copy does not say it.
    pub(crate) async fn last_copied(&self, subject: &str) -> Result<Option<u64>, BridgeError> {
        ask!(self, nats => nats.last_copied(subject).await, one => one.last_copied(subject).await)
    }

    /// Returns the sequence in the log of the signal whose copy has the sequence `copy`; none when
    /// it went away meanwhile.
    pub(crate) async fn copied(&self, copy: u64) -> Result<Option<u64>, BridgeError> {
        ask!(self, nats => nats.copied(copy).await, one => one.copied(copy).await)
    }
}

impl NatsStreams {
    async fn append(
        &self,
        subject: &str,
        id: &str,
        payload: Bytes,
        expected: Option<u64>,
    ) -> Result<u64, BridgeError> {
        let mut message = PublishMessage::build().payload(payload).message_id(id);
        if let Some(kept) = expected {
            message = message.expected_last_subject_sequence(kept);
        }
        let write = publish(&self.connection, &self.jetstream, subject.to_owned(), message);
        self.connection.fail_on_reconnect(Box::pin(write)).await
    }

    async fn first(&self, subject: &str, from: u64) -> Result<Option<StoredMessage>, BridgeError> {
        let first =
            with_timeout(self.signals.get_first_raw_message_by_subject(subject, from)).await?;
        match first {
            Ok(message) => Ok(Some(StoredMessage {
                sequence: message.sequence,
                subject: message.subject.to_string(),
                payload: message.payload,
                is_delete_marker: false,
                stored_at: Some(message.time),
            })),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(BridgeError::disconnected(error)),
        }
    }

    async fn last(&self, subject: &str) -> Result<Option<u64>, BridgeError> {
        match with_timeout(self.signals.get_last_raw_message_by_subject(subject)).await? {
            Ok(message) => Ok(Some(message.sequence)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(BridgeError::disconnected(error)),
        }
    }

    async fn bounds(&self) -> Result<Bounds, BridgeError> {
        let info = with_timeout(self.signals.get_info()).await?;
        let info = info.map_err(BridgeError::disconnected)?;
        Ok(Bounds {
            epoch: created_at(&info),
            first: info.state.first_sequence,
            last: info.state.last_sequence,
            is_replicated: info.config.num_replicas > 1,
        })
    }

    async fn copies(&self) -> Result<Copies, BridgeError> {
        let info = with_timeout(self.ends.get_info()).await?.map_err(BridgeError::disconnected)?;
        let (first, last) = (info.state.first_sequence, info.state.last_sequence);
        Ok(Copies { made_at: created_at(&info), first, last })
    }

    async fn last_copied(&self, subject: &str) -> Result<Option<u64>, BridgeError> {
        match with_timeout(self.ends.get_last_raw_message_by_subject(subject)).await? {
            Ok(copy) => Ok(Some(source(&copy).unwrap_or(0))),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(BridgeError::disconnected(error)),
        }
    }

    async fn copied(&self, copy: u64) -> Result<Option<u64>, BridgeError> {
        match with_timeout(self.ends.raw_message_builder().sequence(copy).send()).await? {
            Ok(copy) => Ok(source(&copy)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(BridgeError::disconnected(error)),
        }
    }
}

/// Returns when a stream was made, in Unix nanoseconds.
fn created_at(info: &Info) -> u64 {
    u64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(0)
}

/// Returns the sequence in the log of the signal that `copy` was made from. The server writes
/// `STREAM SEQUENCE …` (ADR-8 of NATS has the rest).
fn source(copy: &StreamMessage) -> Option<u64> {
    copy.headers.get("Nats-Stream-Source")?.as_str().split(' ').nth(1)?.parse().ok()
}
