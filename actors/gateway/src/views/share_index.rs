//! All shares, by id, by session, and in the order of lists. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use stream_bridge::RecordChange;
use stream_protocol::{SessionId, ShareId, Timestamp};

use super::by_creation::{ByCreation, Created};
use super::view::Index;
use crate::share_record::Share;

/// With more changes at once than one in so many shares, sorting anew is faster.
const FEW: usize = 64;

/// The shares of all sessions, also those that are over until the store lets them go.
#[derive(Default)]
pub(crate) struct ShareIndex {
    shares: HashMap<ShareId, Stored>,
    by_session: HashMap<SessionId, Vec<ShareId>>,
    order: ByCreation<Share>,
}

struct Stored {
    share: Arc<Share>,
    revision: u64,
}

impl Created for Share {
    fn created_at(&self) -> Timestamp {
        self.created_at
    }

    fn id(&self) -> &str {
        self.id.as_str()
    }
}

impl ShareIndex {
    pub(crate) fn find(&self, id: &str) -> Option<&Arc<Share>> {
        self.shares.get(&id.parse().ok()?).map(|stored| &stored.share)
    }

    /// All shares, the oldest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Share>> {
        self.order.iter()
    }

    /// The shares of one session with their revisions, in no order.
    pub(crate) fn of_session(
        &self,
        session: &SessionId,
    ) -> impl Iterator<Item = (&Arc<Share>, u64)> {
        let ids = self.by_session.get(session).into_iter().flatten();
        let stored = ids.filter_map(|id| self.shares.get(id));
        stored.map(|stored| (&stored.share, stored.revision))
    }

    fn remove(&mut self, id: &ShareId) -> Option<Arc<Share>> {
        let Stored { share, .. } = self.shares.remove(id)?;
        if let Some(ids) = self.by_session.get_mut(&share.session_id) {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.by_session.remove(&share.session_id);
            }
        }
        Some(share)
    }

    fn insert(&mut self, share: Arc<Share>, revision: u64) {
        let id = share.id.clone();
        self.by_session.entry(share.session_id.clone()).or_default().push(id.clone());
        self.shares.insert(id, Stored { share, revision });
    }
}

impl Index for ShareIndex {
    type Record = Share;
    /// A share that cannot be read opens nothing, and is none.
    type Change = (ShareId, Option<(Arc<Share>, u64)>);

    fn keep(key: String, change: RecordChange<Share>) -> Option<Self::Change> {
        let id: ShareId = key.parse().ok()?;
        let stored = match change {
            RecordChange::Stored(entry) if entry.value.id == id => {
                Some((Arc::new(entry.value), entry.revision))
            }
            _ => None,
        };
        Some((id, stored))
    }

    fn key((id, _): &Self::Change) -> &str {
        id.as_str()
    }

    fn apply(&mut self, changes: Vec<Self::Change>) {
        let few = changes.len() <= self.shares.len() / FEW + 1;
        for (id, stored) in changes {
            let before = self.remove(&id);
            if few {
                before.iter().for_each(|before| self.order.remove(before));
            }
            let Some((share, revision)) = stored else { continue };
            if few {
                self.order.insert(Arc::clone(&share));
            }
            self.insert(share, revision);
        }
        if !few {
            self.order = self.shares.values().map(|stored| Arc::clone(&stored.share)).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use stream_bridge::Entry;
    use stream_protocol::Role;

    use super::*;

    fn share(session: &SessionId, created_at: u64) -> Share {
        Share {
            id: ShareId::random(),
            session_id: session.clone(),
            role: Role::View,
            description: String::new(),
            created_at: created_at.into(),
            expiry_at: 999.into(),
            token_id: "0123456789abcdef".into(),
            made_by: None,
        }
    }

    fn stored(share: &Share, revision: u64) -> <ShareIndex as Index>::Change {
        let change = RecordChange::Stored(Entry { value: share.clone(), revision });
        ShareIndex::keep(share.id.to_string(), change).unwrap()
    }

    fn ids(index: &ShareIndex) -> Vec<&ShareId> {
        index.all().map(|share| &share.id).collect()
    }

    #[test]
    fn shares_are_found_by_id_and_session_and_listed_by_age() {
        let (one, other) = (SessionId::random(), SessionId::random());
        let (young, old, of_other) = (share(&one, 7), share(&one, 3), share(&other, 5));
        let mut index = ShareIndex::default();
        index.apply(vec![stored(&young, 1), stored(&old, 2), stored(&of_other, 3)]);
        assert_eq!(ids(&index), [&old.id, &of_other.id, &young.id]);
        assert_eq!(index.find(old.id.as_str()).map(|found| &**found), Some(&old));
        assert!(index.find("no id").is_none());
        let mut revisions: Vec<_> = index.of_session(&one).map(|(_, revision)| revision).collect();
        revisions.sort();
        assert_eq!(revisions, [1, 2]);

        let edited = Share { description: "d".to_owned(), ..young.clone() };
        index.apply(vec![stored(&edited, 4)]);
        assert_eq!(index.find(young.id.as_str()).unwrap().description, "d");
        assert_eq!((ids(&index).len(), index.of_session(&one).count()), (3, 2));

        let gone = |share: &Share| ShareIndex::keep(share.id.to_string(), RecordChange::Removed);
        index.apply(gone(&old).into_iter().collect());
        index.apply(gone(&of_other).into_iter().collect());
        assert_eq!(ids(&index), [&young.id]);
        assert_eq!(index.of_session(&other).count(), 0);
        let broken = ShareIndex::keep(young.id.to_string(), RecordChange::Unreadable);
        index.apply(broken.into_iter().collect());
        assert!(ids(&index).is_empty(), "what cannot be read opens nothing");
    }
}
