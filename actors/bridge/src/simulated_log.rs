//! The streams behind the signal log of a simulation.

use std::sync::Arc;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::BridgeError;
use crate::batch::{Batch, StoredMessage};
use crate::connection::Subscription;
use crate::log_bounds::{Bounds, Copies};
use crate::log_watch::LogWatch;
use crate::simulated_server::{LogReach, Published, SimulatedServer};

/// The streams of a simulated server, and what the readers of one unit have seen of them. Cheap to
/// clone.
#[derive(Clone)]
pub(crate) struct SimulatedStreams {
    pub(crate) server: Arc<dyn SimulatedServer>,
    pub(crate) watch: LogWatch,
}

impl SimulatedStreams {
    pub(crate) fn is_connected(&self) -> bool {
        self.server.is_connected()
    }

    pub(crate) fn connects(&self) -> u64 {
        *self.server.connects().borrow()
    }

    pub(crate) async fn subscribe(&self, subject: String) -> Result<Subscription, BridgeError> {
        follow(&*self.server, subject).await
    }

    pub(crate) async fn append(
        &self,
        subject: &str,
        id: &str,
        payload: Bytes,
        expected: Option<u64>,
    ) -> Result<u64, BridgeError> {
        self.server.append(subject.to_owned(), id.to_owned(), payload, expected).await
    }

    pub(crate) async fn batch(&self, subject: &str, from: u64) -> Result<Batch, BridgeError> {
        let (signals, complete) = self.server.signals(subject.to_owned(), from).await?;
        let stored = signals.into_iter().map(|(sequence, payload)| {
            let subject = subject.to_owned();
            message(subject, (sequence, Some(payload)))
        });
        Ok(Batch { messages: stored.collect(), complete })
    }

    pub(crate) async fn last_of(&self, of: &[&str], from: u64) -> Result<Batch, BridgeError> {
        let of = of.iter().map(|subject| (*subject).to_owned()).collect();
        let last = self.server.last_signals(of, from).await?;
        let last = last.into_iter().map(|(subject, sequence)| message(subject, (sequence, None)));
        Ok(Batch { messages: last.collect(), complete: true })
    }

    pub(crate) async fn first(
        &self,
        subject: &str,
        from: u64,
    ) -> Result<Option<StoredMessage>, BridgeError> {
        let first = self.server.first_signal(subject.to_owned(), from).await?;
        Ok(first.map(|(sequence, payload)| message(subject.to_owned(), (sequence, Some(payload)))))
    }

    pub(crate) async fn last(&self, subject: &str) -> Result<Option<u64>, BridgeError> {
        self.server.last_signal(subject.to_owned()).await
    }

    pub(crate) async fn bounds(&self) -> Result<Bounds, BridgeError> {
        let LogReach { epoch, first, last } = self.server.reach().await?;
        Ok(Bounds { epoch, first, last, is_replicated: self.server.is_replicated() })
    }

    /// Both streams were made at once.
    pub(crate) fn copied_since(&self) -> u64 {
        u64::MAX
    }

    pub(crate) async fn copies(&self) -> Result<Copies, BridgeError> {
        let (first, last) = self.server.copies().await?;
        Ok(Copies { made_at: self.copied_since(), first, last })
    }

    pub(crate) async fn last_copied(&self, subject: &str) -> Result<Option<u64>, BridgeError> {
        self.server.last_copied(subject.to_owned()).await
    }

    pub(crate) async fn copied(&self, copy: u64) -> Result<Option<u64>, BridgeError> {
        self.server.copied(copy).await
    }
}

/// Makes what a stream holds: without a payload it only says that something was removed.
pub(crate) fn message(subject: String, (sequence, payload): (u64, Option<Bytes>)) -> StoredMessage {
    let is_delete_marker = payload.is_none();
    let payload = payload.unwrap_or_default();
    StoredMessage { sequence, subject, payload, is_delete_marker, stored_at: None }
}

/// Subscribes to what a simulated server publishes live on a subject.
pub(crate) async fn follow(
    server: &dyn SimulatedServer,
    subject: String,
) -> Result<Subscription, BridgeError> {
    let (sender, messages) = mpsc::unbounded_channel();
    let (connects, mut published) = (server.connects(), server.follow(subject).await?);
    stream_supervisor::spawn_detached("a simulated subscription", async move {
        while let Some(one) = published.recv().await {
            if sender.send(live_message(one)).is_err() {
                return;
            }
        }
    });
    Ok(Subscription::simulated(messages, connects))
}

fn live_message(Published { subject, sequence, previous, payload }: Published) -> Message {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Sequence", sequence.to_string());
    headers.insert("Nats-Last-Sequence", previous.to_string());
    let (status, description, length) = (None, None, payload.len());
    let headers = Some(headers);
    Message { subject: subject.into(), reply: None, payload, headers, status, description, length }
}
