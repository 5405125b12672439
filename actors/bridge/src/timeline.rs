//! What happened to sessions and units: written without waiting, and read by whoever looks for a
//! cause.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::Message;
use stream_protocol::subjects::{self, TIMELINE};
use stream_protocol::{Hop, SessionId, TimelineEntry, Versioned};
use stream_supervisor::{Context, Handler, Reply, RequestId};

use crate::actor::Actor;
use crate::batch::{self, StoredMessage};
use crate::{Bridge, BridgeError};

/// Writes entries of one session, in their order.
#[derive(Message)]
#[rtype(result = "Result<(), BridgeError>")]
pub(crate) struct Tell {
    session: SessionId,
    entries: Vec<TimelineEntry>,
}

/// Reads what is known under one subject.
#[derive(Message)]
#[rtype(result = "Result<Vec<PastEntry>, BridgeError>")]
pub(crate) struct ReadTimeline(String);

/// What happened to a session, and when by the clock of the store.
#[derive(Clone, Debug, PartialEq)]
pub struct PastEntry {
    /// Milliseconds since 1970 (Unix time).
    pub at_ms: u64,
    pub entry: TimelineEntry,
}

/// Who hears what this process tells of sessions; nobody until somebody is given.
#[derive(Clone, Default)]
pub(crate) struct Listener(Arc<OnceLock<Box<Hear>>>);

type Hear = dyn Fn(&SessionId, &TimelineEntry) + Send + Sync;

impl Bridge {
    /// Has `hear` called with each entry that this process tells, before NATS has it, and whether
    /// or not it takes it. It must not wait. Only the first one is called.
    pub fn on_timeline(&self, hear: impl Fn(&SessionId, &TimelineEntry) + Send + Sync + 'static) {
        // There is one already.
        let _ = self.3.0.set(Box::new(hear));
    }

    /// Has `entries` of `session` written, in their order, and waits for nothing: what NATS does
    /// not take is lost, since nothing is decided by it. They are kept for an hour, 100 of each
    /// session.
    pub fn tell_timeline(&self, session: &SessionId, entries: Vec<TimelineEntry>) {
        if entries.is_empty() {
            return;
        }
        if let Some(hear) = self.3.0.get() {
            entries.iter().for_each(|entry| hear(session, entry));
        }
        if let Err(error) = self.0.tell(Tell { session: session.clone(), entries }) {
            log::debug!(session:%, error:%; "a step of a session is not written down");
        }
    }

    /// Returns what happened to `session` in the last hour, the oldest first; nothing for one that
    /// nobody knows. What this version cannot read is left out.
    ///
    /// # Errors
    ///
    /// NATS is away or gives no answer.
    pub async fn timeline(&self, session: &SessionId) -> Result<Vec<PastEntry>, BridgeError> {
        self.0.ask(ReadTimeline(subjects::timeline(session))).await?
    }

    /// Returns what happened in the last hour to the unit that calls itself `name`, and so to
    /// whatever sessions it has, the oldest first.
    ///
    /// # Errors
    ///
    /// NATS is away or gives no answer.
    pub async fn unit_timeline(&self, name: &str) -> Result<Vec<PastEntry>, BridgeError> {
        self.0.ask(ReadTimeline(subjects::unit_timeline(name))).await?
    }
}

impl Handler<Tell> for Actor {
    fn handle(&mut self, tell: &Tell, _: &Context<Self>) -> Reply<Result<(), BridgeError>> {
        let subject = subjects::timeline(&tell.session);
        let request = RequestId::current().map(|id| id.to_string());
        let written = |entry: &TimelineEntry| {
            let (unit, request) = (self.unit().to_owned(), request.clone());
            Versioned::encode(TimelineEntry { unit, request, ..entry.clone() })
        };
        let payloads: Vec<_> = tell.entries.iter().map(written).collect();
        self.with("timeline", async move |store| {
            let client = &store.connection().client;
            for payload in payloads {
                let written = client.publish(subject.clone(), payload.into()).await;
                written.map_err(BridgeError::disconnected)?;
            }
            Ok(())
        })
    }
}

impl Handler<ReadTimeline> for Actor {
    fn handle(
        &mut self,
        ReadTimeline(subject): &ReadTimeline,
        _: &Context<Self>,
    ) -> Reply<Result<Vec<PastEntry>, BridgeError>> {
        let subject = subject.clone();
        self.with_store("timeline", async move |store| {
            // One batch holds more than a session has.
            let client = &store.connection().client;
            let batch = batch::get(client, TIMELINE, &subject, 1).await?;
            Ok(batch.messages.iter().filter_map(past).collect())
        })
    }
}

impl Actor {
    /// Tells in the timeline of this unit that NATS has served it no more for `away`, and does
    /// again.
    pub(crate) fn tell_outage(&self, away: Duration, ctx: &Context<Self>) {
        let Ok(store) = self.store() else { return };
        let client = store.connection().client.clone();
        let subject = subjects::unit_timeline(self.unit());
        let entry = TimelineEntry {
            unit: self.unit().to_owned(),
            took_ms: u64::try_from(away.as_millis()).ok(),
            failed: true,
            ..TimelineEntry::new(Hop::Nats, "NATS was away: nothing was read, written or passed on")
        };
        ctx.spawn(async move {
            let written = client.publish(subject, Versioned::encode(entry).into()).await;
            if let Err(error) = written {
                log::debug!(error:%; "an outage of NATS is not written down");
            }
        });
    }
}

fn past(message: &StoredMessage) -> Option<PastEntry> {
    let at_ms = u64::try_from(message.stored_at?.unix_timestamp_nanos() / 1_000_000).ok()?;
    Some(PastEntry { at_ms, entry: Versioned::decode(&message.payload).ok()? })
}

#[cfg(test)]
mod tests {
    use stream_protocol::Hop;
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let entry = TimelineEntry::new(Hop::Join, "client 1 has joined");
        let stored = |payload: Vec<u8>, stored_at| StoredMessage {
            sequence: 1,
            subject: String::new(),
            payload: payload.into(),
            is_delete_marker: false,
            stored_at,
        };
        let moment = OffsetDateTime::parse("2026-01-02T03:04:05.678901234Z", &Rfc3339).ok();
        let whole = stored(Versioned::encode(&entry), moment);
        assert_eq!(past(&whole), Some(PastEntry { at_ms: 1_767_323_045_678, entry }));
        assert_eq!(past(&stored(b"{}".to_vec(), moment)), None);
        assert_eq!(past(&StoredMessage { stored_at: None, ..whole }), None);
    }
}
