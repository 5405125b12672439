//! What the store holds of sessions, read once and then kept up: it holds the ended ones of an hour
//! too, and nobody reads all of them for every look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_bridge::{Continuity, Entry, MARKER_TTL};
use stream_protocol::subjects::Bucket;
use stream_protocol::{Origin, SessionDocument, SessionId};
use tokio::sync::MutexGuard;

use crate::SessionsError;
use crate::unit::Unit;

/// Everything is read anew after so long, whatever was missed; and when the last look was so long
/// ago that a removal may be told no more.
const ANEW: Duration = Duration::from_secs(600);
const STALE: Duration = MARKER_TTL.checked_div(2).unwrap();

/// All sessions, as far as they matter once they have ended.
#[derive(Default)]
pub(crate) struct Known {
    records: BTreeMap<SessionId, Record>,
    /// The revision up to which the store was read.
    revision: u64,
    /// How it was at the last look.
    looked: Option<Looked>,
}

#[derive(Debug)]
pub(crate) enum Record {
    Live(Arc<SessionDocument>),
    /// Ended, by whomever its instance was launched.
    Ended(Origin),
}

struct Looked {
    continuity: Continuity,
    at: Instant,
    /// When all was read.
    whole: Instant,
}

impl From<SessionDocument> for Record {
    fn from(document: SessionDocument) -> Self {
        match document.status.is_final() {
            true => Self::Ended(document.origin),
            false => Self::Live(Arc::new(document)),
        }
    }
}

impl Known {
    /// The sessions that have not ended.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Arc<SessionDocument>> {
        self.records.values().filter_map(|record| match record {
            Record::Live(document) => Some(document),
            Record::Ended(_) => None,
        })
    }

    pub(crate) fn find(&self, id: &SessionId) -> Option<&Record> {
        self.records.get(id)
    }

    /// When the store was made, in Unix seconds.
    pub(crate) fn store_born(&self) -> u64 {
        self.looked.as_ref().map_or(0, |looked| looked.continuity.created_at)
    }

    /// The revision after which to read on; 0 when all is to be read. What was lost and is there
    /// again, from a copy perhaps, counts its revisions anew.
    fn begin(&self, continuity: &Continuity, now: Instant) -> u64 {
        let goes_on = self.looked.as_ref().is_some_and(|looked| {
            looked.continuity == *continuity
                && now.duration_since(looked.at) < STALE
                && now.duration_since(looked.whole) < ANEW
        });
        if goes_on { self.revision } else { 0 }
    }

    /// Takes in what was read from revision `from` up to `revision`.
    fn take(
        &mut self,
        changes: Vec<(SessionId, Option<Record>)>,
        from: u64,
        revision: u64,
        continuity: Continuity,
        now: Instant,
    ) {
        let whole = match &self.looked {
            Some(looked) if from > 0 => looked.whole,
            _ => now,
        };
        if from == 0 {
            self.records.clear();
        }
        for (id, record) in changes {
            match record {
                Some(record) => self.records.insert(id, record),
                None => self.records.remove(&id),
            };
        }
        self.revision = revision;
        self.looked = Some(Looked { continuity, at: now, whole });
    }
}

impl Unit {
    /// Returns what the store holds now.
    pub(crate) async fn known(&self) -> Result<MutexGuard<'_, Known>, SessionsError> {
        let mut known = self.known.lock().await;
        let bridge = &self.neighbours.bridge;
        let continuity = bridge.continuity(Bucket::Sessions).await?;
        let now = Instant::now();
        let from = known.begin(&continuity, now);
        let mut changes = Vec::new();
        let read =
            bridge.changes(Bucket::Sessions, from, |key, entry: Option<Entry<SessionDocument>>| {
                if let Ok(id) = key.parse() {
                    changes.push((id, entry.map(|entry| Record::from(entry.value))));
                }
            });
        let revision = read.await?;
        known.take(changes, from, revision, continuity, now);
        Ok(known)
    }

    /// Returns the documents of all sessions that have not ended.
    pub(crate) async fn live(&self) -> Result<Vec<Arc<SessionDocument>>, SessionsError> {
        Ok(self.known().await?.live().cloned().collect())
    }
}

#[cfg(test)]
impl FromIterator<SessionDocument> for Known {
    fn from_iter<I: IntoIterator<Item = SessionDocument>>(documents: I) -> Self {
        let records = documents.into_iter().map(|one| (one.id.clone(), one.into())).collect();
        Self { records, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use stream_protocol::{Request, Status};

    use super::*;

    fn document(status: Status) -> SessionDocument {
        let request: Request = serde_json::from_str(
            r#"{"app":"a","app_version":null,"region":"","screen":{},"joinable":false,
                "ephemeral":true,"idle_time_min":0,"extra_data":null}"#,
        )
        .unwrap();
        let document = SessionDocument::new(SessionId::random(), request, 0, 30);
        SessionDocument { status, ..document }
    }

    fn change(document: &SessionDocument) -> (SessionId, Option<Record>) {
        (document.id.clone(), Some(document.clone().into()))
    }

    fn live(known: &Known) -> Vec<SessionId> {
        known.live().map(|document| document.id.clone()).collect()
    }

    #[test]
    fn changes_are_added_to_what_is_known_and_what_is_read_whole_replaces_it() {
        let (mut known, now) = (Known::default(), Instant::now());
        let continuity = Continuity { created_at: 7, connected_since: now };
        assert_eq!(known.begin(&continuity, now), 0);
        let (mut first, second) = (document(Status::Created), document(Status::Active));
        known.take(vec![change(&first), change(&second)], 0, 2, continuity, now);
        assert_eq!((live(&known).len(), known.store_born()), (2, 7));

        assert_eq!(known.begin(&continuity, now), 2);
        first.status = Status::Terminated;
        known.take(vec![change(&first)], 2, 3, continuity, now);
        assert_eq!(live(&known), std::slice::from_ref(&second.id));
        assert!(matches!(known.find(&first.id), Some(Record::Ended(Origin::Client))));
        known.take(vec![(first.id.clone(), None)], 3, 4, continuity, now);
        assert!(known.find(&first.id).is_none(), "its hour is over");

        let third = document(Status::Active);
        known.take(vec![change(&third)], 0, 1, continuity, now);
        assert_eq!(live(&known), [third.id]);
    }

    #[test]
    fn all_is_read_anew_when_changes_may_have_been_missed() {
        let (mut known, start) = (Known::default(), Instant::now());
        let continuity = Continuity { created_at: 7, connected_since: start };
        known.take(Vec::new(), 0, 5, continuity, start);
        assert_eq!(known.begin(&continuity, start + STALE / 2), 5);
        let cases = [
            (continuity, start + STALE, "removals are told no more"),
            (Continuity { created_at: 8, ..continuity }, start, "another store"),
            (Continuity { connected_since: start + STALE, ..continuity }, start, "NATS was away"),
        ];
        for (continuity, now, why) in cases {
            assert_eq!(known.begin(&continuity, now), 0, "{why}");
        }
        let mut now = start;
        while now - start + STALE / 2 < ANEW {
            now += STALE / 2;
            assert_eq!(known.begin(&continuity, now), 5);
            known.take(Vec::new(), 5, 5, continuity, now);
        }
        assert_eq!(known.begin(&continuity, now + STALE / 2), 0, "it was long ago");
    }
}
