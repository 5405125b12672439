//! The documents of all sessions, read once and then kept up to date. Ended sessions stay in the
//! bucket for an hour, too many to read again on every sweep.

use std::collections::BTreeMap;
use std::sync::Arc;

use stream_bridge::{Bridge, Increment, IncrementalReader, RecordChange};
use stream_protocol::subjects::Bucket;
use stream_protocol::{Origin, SessionDocument, SessionId};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::sleep;

use crate::SessionsError;

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
        let keep = |key: String, change: RecordChange<SessionDocument>| {
            let session = match change {
                RecordChange::Stored(entry) => Some(entry.value.into()),
                RecordChange::Unreadable => Some(CachedSession::Unreadable),
                RecordChange::Removed => None,
            };
            Some((key.parse().ok()?, session))
        };
        let increment = cached.reader.read(bridge, keep).await?;
        cached.apply(increment);
        Ok(cached)
    }

    /// Reads on again and again, so that no pause between two [refreshes](Self::refresh) is so long
    /// that everything has to be read anew. Never ends.
    pub(crate) async fn keep_up(&self, bridge: &Bridge) {
        loop {
            sleep(IncrementalReader::INTERVAL).await;
            if let Err(error) = self.refresh(bridge).await {
                log::debug!(error:%; "the documents of sessions are not read on");
            }
        }
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
pub(crate) struct CachedSessions {
    sessions: BTreeMap<SessionId, CachedSession>,
    reader: IncrementalReader,
}

impl Default for CachedSessions {
    fn default() -> Self {
        Self { sessions: BTreeMap::new(), reader: IncrementalReader::new(Bucket::Sessions) }
    }
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
        self.reader.created_at()
    }

    fn apply(&mut self, increment: Increment<(SessionId, Option<CachedSession>)>) {
        if increment.is_whole {
            self.sessions.clear();
        }
        for (id, session) in increment.changes {
            match session {
                Some(session) => self.sessions.insert(id, session),
                None => self.sessions.remove(&id),
            };
        }
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
        let mut cache = CachedSessions::default();
        let whole = |changes| Increment { is_whole: true, changes };
        let more = |changes| Increment { is_whole: false, changes };
        let (mut first, second) = (document(Status::Created), document(Status::Active));
        cache.apply(whole(vec![change(&first), change(&second)]));
        assert_eq!(live(&cache).len(), 2);

        first.status = Status::Terminated;
        cache.apply(more(vec![change(&first)]));
        assert_eq!(live(&cache), std::slice::from_ref(&second.id));
        assert!(matches!(cache.find(&first.id), Some(CachedSession::Ended(Origin::Client))));
        cache.apply(more(vec![(first.id.clone(), None)]));
        assert!(cache.find(&first.id).is_none(), "its hour is over");

        let third = document(Status::Active);
        cache.apply(whole(vec![change(&third)]));
        assert_eq!(live(&cache), [third.id]);
    }
}
