//! The documents of all sessions, read once and then kept up to date. Ended sessions stay in the
//! bucket for an hour, too many to read again on every sweep.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_bridge::{Bridge, Continuity, MARKER_TTL, RecordChange};
use stream_protocol::subjects::Bucket;
use stream_protocol::{Origin, SessionDocument, SessionId};
use tokio::sync::{Mutex, MutexGuard};

use crate::SessionsError;

/// How long changes are added to what was read before everything is read again.
const FULL_RELOAD: Duration = Duration::from_secs(600);

/// The longest time between two reads after which removals are still told as changes.
const MAX_GAP: Duration = MARKER_TTL.checked_div(2).unwrap();

/// Reads the documents of sessions through, one reader at a time.
#[derive(Default)]
pub(crate) struct SessionCache(Mutex<CachedSessions>);

impl SessionCache {
    /// Reads what has changed in the store and returns all sessions.
    pub(crate) async fn refresh(
        &self,
        bridge: &Bridge,
    ) -> Result<MutexGuard<'_, CachedSessions>, SessionsError> {
        let mut cached = self.0.lock().await;
        let continuity = bridge.continuity(Bucket::Sessions).await?;
        let now = Instant::now();
        let from = cached.resume_from(&continuity, now);
        let mut changes = Vec::new();
        let on_change = |key: String, change: RecordChange<SessionDocument>| {
            let Ok(id) = key.parse() else { return };
            let session = match change {
                RecordChange::Stored(entry) => Some(entry.value.into()),
                RecordChange::Unreadable => Some(CachedSession::Unreadable),
                RecordChange::Removed => None,
            };
            changes.push((id, session));
        };
        let revision = bridge.changes(Bucket::Sessions, from, on_change).await?;
        cached.apply(changes, from, revision, continuity, now);
        Ok(cached)
    }

    /// Returns the sessions that were ended by force, as last read.
    pub(crate) async fn left_behind(&self) -> Vec<Arc<SessionDocument>> {
        self.0.lock().await.left_behind().cloned().collect()
    }

    /// Reads what has changed in the store and returns the sessions that have not ended, and those
    /// whose instance is kept.
    pub(crate) async fn live_and_kept(
        &self,
        bridge: &Bridge,
    ) -> Result<Vec<Arc<SessionDocument>>, SessionsError> {
        let cached = self.refresh(bridge).await?;
        Ok(cached.live().chain(cached.kept()).cloned().collect())
    }

    /// Reads what has changed in the store and returns the sessions that have ended and whose
    /// instance is kept.
    pub(crate) async fn kept(
        &self,
        bridge: &Bridge,
    ) -> Result<Vec<Arc<SessionDocument>>, SessionsError> {
        Ok(self.refresh(bridge).await?.kept().cloned().collect())
    }

    #[cfg(test)]
    pub(crate) async fn lock(&self) -> MutexGuard<'_, CachedSessions> {
        self.0.lock().await
    }
}

/// All sessions: whole documents while they live or their instance is kept, the origin alone once
/// they are over.
#[derive(Default)]
pub(crate) struct CachedSessions {
    sessions: BTreeMap<SessionId, CachedSession>,
    /// The revision up to which the store was read.
    revision: u64,
    /// How it was at the last look.
    last_read: Option<LastRead>,
}

#[derive(Debug)]
pub(crate) enum CachedSession {
    Live(Arc<SessionDocument>),
    /// Ended, and its instance is kept.
    KeepsInstance(Arc<SessionDocument>),
    /// Ended, by whomever its instance was launched.
    Ended(Origin),
    /// Ended by force, and no agent has looked for its instance since.
    LeftBehind(Arc<SessionDocument>),
    /// Of a newer version, or damaged: whatever it is, its instance is none of ours to judge.
    Unreadable,
}

struct LastRead {
    continuity: Continuity,
    at: Instant,
    /// When all was read.
    whole: Instant,
}

impl From<SessionDocument> for CachedSession {
    fn from(document: SessionDocument) -> Self {
        match document.status.is_final() {
            true if document.instance_left_behind => Self::LeftBehind(Arc::new(document)),
            true if document.kept_instance.is_some() => Self::KeepsInstance(Arc::new(document)),
            true => Self::Ended(document.origin),
            false => Self::Live(Arc::new(document)),
        }
    }
}

impl CachedSessions {
    /// The sessions that have not ended.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Arc<SessionDocument>> {
        self.sessions.values().filter_map(|session| match session {
            CachedSession::Live(document) => Some(document),
            _ => None,
        })
    }

    /// The sessions that have ended and whose instance is kept.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Arc<SessionDocument>> {
        self.sessions.values().filter_map(|session| match session {
            CachedSession::KeepsInstance(document) => Some(document),
            _ => None,
        })
    }

    /// The sessions that were ended by force, whose instances may still run.
    pub(crate) fn left_behind(&self) -> impl Iterator<Item = &Arc<SessionDocument>> {
        self.sessions.values().filter_map(|session| match session {
            CachedSession::LeftBehind(document) => Some(document),
            _ => None,
        })
    }

    /// The sessions whose documents this version cannot read.
    pub(crate) fn unreadable(&self) -> impl Iterator<Item = &SessionId> {
        let unreadable =
            |(_, session): &(_, &CachedSession)| matches!(session, CachedSession::Unreadable);
        self.sessions.iter().filter(unreadable).map(|(id, _)| id)
    }

    #[cfg(test)]
    pub(crate) fn insert(&mut self, document: SessionDocument) {
        self.sessions.insert(document.id.clone(), document.into());
    }

    pub(crate) fn find(&self, id: &SessionId) -> Option<&CachedSession> {
        self.sessions.get(id)
    }

    /// When the store was made, in Unix seconds.
    pub(crate) fn store_born(&self) -> u64 {
        self.last_read.as_ref().map_or(0, |last_read| last_read.continuity.created_at)
    }

    /// The revision after which to read on; 0 when all is to be read. What was lost and is there
    /// again, from a copy perhaps, counts its revisions anew.
    fn resume_from(&self, continuity: &Continuity, now: Instant) -> u64 {
        let goes_on = self.last_read.as_ref().is_some_and(|last_read| {
            last_read.continuity == *continuity
                && now.duration_since(last_read.at) < MAX_GAP
                && now.duration_since(last_read.whole) < FULL_RELOAD
        });
        if goes_on { self.revision } else { 0 }
    }

    /// Takes in what was read from revision `from` up to `revision`.
    fn apply(
        &mut self,
        changes: Vec<(SessionId, Option<CachedSession>)>,
        from: u64,
        revision: u64,
        continuity: Continuity,
        now: Instant,
    ) {
        let whole = match &self.last_read {
            Some(last_read) if from > 0 => last_read.whole,
            _ => now,
        };
        if from == 0 {
            self.sessions.clear();
        }
        for (id, session) in changes {
            match session {
                Some(session) => self.sessions.insert(id, session),
                None => self.sessions.remove(&id),
            };
        }
        self.revision = revision;
        self.last_read = Some(LastRead { continuity, at: now, whole });
    }
}

#[cfg(test)]
impl FromIterator<SessionDocument> for CachedSessions {
    fn from_iter<I: IntoIterator<Item = SessionDocument>>(documents: I) -> Self {
        let sessions = documents.into_iter().map(|one| (one.id.clone(), one.into())).collect();
        Self { sessions, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use stream_protocol::Status;

    use super::*;

    fn document(status: Status) -> SessionDocument {
        SessionDocument { status, ..SessionDocument::sample() }
    }

    fn change(document: &SessionDocument) -> (SessionId, Option<CachedSession>) {
        (document.id.clone(), Some(document.clone().into()))
    }

    fn live(cache: &CachedSessions) -> Vec<SessionId> {
        cache.live().map(|document| document.id.clone()).collect()
    }

    #[test]
    fn changes_are_added_to_what_is_known_and_what_is_read_whole_replaces_it() {
        let (mut cache, now) = (CachedSessions::default(), Instant::now());
        let continuity = Continuity { created_at: 7, connected_since: now };
        assert_eq!(cache.resume_from(&continuity, now), 0);
        let (mut first, second) = (document(Status::Created), document(Status::Active));
        cache.apply(vec![change(&first), change(&second)], 0, 2, continuity, now);
        assert_eq!((live(&cache).len(), cache.store_born()), (2, 7));

        assert_eq!(cache.resume_from(&continuity, now), 2);
        first.status = Status::Terminated;
        cache.apply(vec![change(&first)], 2, 3, continuity, now);
        assert_eq!(live(&cache), std::slice::from_ref(&second.id));
        assert!(matches!(cache.find(&first.id), Some(CachedSession::Ended(Origin::Client))));
        cache.apply(vec![(first.id.clone(), None)], 3, 4, continuity, now);
        assert!(cache.find(&first.id).is_none(), "its hour is over");

        let third = document(Status::Active);
        cache.apply(vec![change(&third)], 0, 1, continuity, now);
        assert_eq!(live(&cache), [third.id]);
    }

    #[test]
    fn all_is_read_anew_when_changes_may_have_been_missed() {
        let (mut cache, start) = (CachedSessions::default(), Instant::now());
        let continuity = Continuity { created_at: 7, connected_since: start };
        cache.apply(Vec::new(), 0, 5, continuity, start);
        assert_eq!(cache.resume_from(&continuity, start + MAX_GAP / 2), 5);
        let cases = [
            (continuity, start + MAX_GAP, "removals are told no more"),
            (Continuity { created_at: 8, ..continuity }, start, "another store"),
            (Continuity { connected_since: start + MAX_GAP, ..continuity }, start, "NATS was away"),
        ];
        for (continuity, now, why) in cases {
            assert_eq!(cache.resume_from(&continuity, now), 0, "{why}");
        }
        let mut now = start;
        while now - start + MAX_GAP / 2 < FULL_RELOAD {
            now += MAX_GAP / 2;
            assert_eq!(cache.resume_from(&continuity, now), 5);
            cache.apply(Vec::new(), 5, 5, continuity, now);
        }
        assert_eq!(cache.resume_from(&continuity, now + MAX_GAP / 2), 0, "it was long ago");
    }
}
