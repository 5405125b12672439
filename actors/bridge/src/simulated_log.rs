//! The signal log of a simulation.

use std::sync::Arc;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use stream_protocol::{Cursor, LoggedSignal, SignalPage, StoredSignal, Versioned};
use tokio::sync::mpsc;

use crate::BridgeError;
use crate::connection::Subscription;
use crate::log_bounds::{Bounds, Place};
use crate::signal_log::Tail;
use crate::simulated_server::{LogReach, Published, SimulatedServer};

/// The most signals of one answer.
const MAX_MESSAGES: usize = 256;

/// The log behind a simulated server. It drops nothing, so that no reader is overtaken.
#[derive(Clone)]
pub(crate) struct SimulatedLog(pub(crate) Arc<dyn SimulatedServer>);

impl SimulatedLog {
    pub(crate) fn is_connected(&self) -> bool {
        self.0.is_connected()
    }

    pub(crate) async fn subscribe(&self, subject: String) -> Result<Subscription, BridgeError> {
        follow(&*self.0, subject).await
    }

    pub(crate) async fn epoch(&self) -> Result<u64, BridgeError> {
        let (_, reach) = self.0.signals(String::new(), u64::MAX).await?;
        Ok(reach.epoch)
    }

    pub(crate) async fn tail(&self, subject: &str) -> Option<Tail> {
        let (signals, _) = self.0.signals(subject.to_owned(), 1).await.ok()?;
        let last = signals.last().map_or(0, |(sequence, _)| *sequence);
        Some(Tail { kept: last, previous: last })
    }

    pub(crate) async fn append(
        &self,
        subject: &str,
        id: &str,
        payload: Bytes,
        expected: Option<u64>,
    ) -> Result<u64, BridgeError> {
        self.0.append(subject.to_owned(), id.to_owned(), payload, expected).await
    }

    pub(crate) async fn page(
        &self,
        subject: &str,
        after: Option<Cursor>,
        generation: u64,
    ) -> Result<SignalPage, BridgeError> {
        let from = after.map_or(1, |cursor| cursor.sequence.saturating_add(1));
        let (mut stored, reach) = self.0.signals(subject.to_owned(), from).await?;
        let bounds = bounds(reach);
        if after.is_some_and(|after| bounds.place(after) != Place::Within) {
            return Err(BridgeError::HistoryGone { fresh: bounds.end() });
        }
        stored.truncate(MAX_MESSAGES);
        let sequence = stored.last().map_or(reach.last, |(sequence, _)| *sequence);
        let logged = stored.iter().filter_map(|(sequence, payload)| {
            let StoredSignal { generation, signal, .. } = Versioned::decode(payload).ok()?;
            let cursor = Cursor { epoch: reach.epoch, sequence: *sequence };
            Some(LoggedSignal { cursor, generation, signal })
        });
        let signals = logged.filter(|one| after.is_some() || one.generation == generation);
        Ok(SignalPage {
            signals: signals.collect(),
            cursor: Cursor { epoch: reach.epoch, sequence },
        })
    }

    /// Never knows better than the log itself.
    pub(crate) async fn skip_quiet(&self, after: Cursor) -> Result<Option<Cursor>, BridgeError> {
        let (_, reach) = self.0.signals(String::new(), u64::MAX).await?;
        match bounds(reach).place(after) {
            Place::Unknown => Err(BridgeError::HistoryGone { fresh: bounds(reach).end() }),
            _ => Ok((after.sequence == reach.last).then_some(after)),
        }
    }
}

fn bounds(LogReach { epoch, first, last }: LogReach) -> Bounds {
    Bounds { epoch, first, last, is_replicated: true }
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
            if sender.send(message(one)).is_err() {
                return;
            }
        }
    });
    Ok(Subscription::simulated(messages, connects))
}

fn message(Published { subject, sequence, previous, payload }: Published) -> Message {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Sequence", sequence.to_string());
    headers.insert("Nats-Last-Sequence", previous.to_string());
    let (status, description, length) = (None, None, payload.len());
    let headers = Some(headers);
    Message { subject: subject.into(), reply: None, payload, headers, status, description, length }
}
