//! All sessions, in the orders and numbers that are asked for. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use stream_bridge::RecordChange;
use stream_protocol::{AgentId, Maker, SessionDocument, SessionId, Status, Timestamp};

use super::by_creation::{ByCreation, Created};
use super::view::Index;
use crate::session_summary::SessionSummary;

/// With more changes at once than one in so many sessions, sorting anew is faster.
const FEW: usize = 64;

/// The sessions of all agents.
#[derive(Default)]
pub(crate) struct SessionIndex {
    sessions: HashMap<SessionId, Arc<SessionSummary>>,
    orders: Orders,
    /// How many sessions that have not ended each agent owns.
    owners: BTreeMap<AgentId, usize>,
    /// The sessions whose documents this version cannot read.
    unreadable: HashSet<SessionId>,
}

#[derive(Default)]
struct Orders {
    all: ByCreation<SessionSummary>,
    listed: ByCreation<SessionSummary>,
    by_status: [ByCreation<SessionSummary>; STATUSES.len()],
    /// By the id of the account that asked for them: another account of the same name has another.
    by_account: HashMap<String, ByCreation<SessionSummary>>,
}

/// The statuses of a session.
pub(crate) const STATUSES: [Status; 5] =
    [Status::Created, Status::Active, Status::Terminating, Status::Terminated, Status::Error];

impl Created for SessionSummary {
    fn created_at(&self) -> Timestamp {
        self.created_at
    }

    fn id(&self) -> &str {
        self.id.as_str()
    }
}

impl SessionIndex {
    pub(crate) fn find(&self, id: &SessionId) -> Option<&Arc<SessionSummary>> {
        self.sessions.get(id)
    }

    /// All sessions, those that have ended among them.
    pub(crate) fn all(&self) -> &ByCreation<SessionSummary> {
        &self.orders.all
    }

    /// The sessions of lists that ask for no status.
    pub(crate) fn listed(&self) -> &ByCreation<SessionSummary> {
        &self.orders.listed
    }

    pub(crate) fn of_status(&self, status: Status) -> &ByCreation<SessionSummary> {
        &self.orders.by_status[place(status)]
    }

    /// The sessions that the account of this id asked for, those that have ended among them.
    pub(crate) fn of_account(&self, id: &str) -> impl Iterator<Item = &Arc<SessionSummary>> {
        self.orders.by_account.get(id).into_iter().flat_map(ByCreation::iter)
    }

    /// The agents that own sessions which have not ended.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &AgentId> {
        self.owners.keys()
    }

    /// How many sessions have documents that this version cannot read.
    pub(crate) fn unreadable(&self) -> usize {
        self.unreadable.len()
    }

    /// Puts `session` into the place of what was there under `id`; the orders are to follow.
    fn replace(
        &mut self,
        id: SessionId,
        session: Option<Arc<SessionSummary>>,
    ) -> Option<Arc<SessionSummary>> {
        let before = match &session {
            Some(session) => self.sessions.insert(id, Arc::clone(session)),
            None => self.sessions.remove(&id),
        };
        if let Some(owner) = before.as_deref().and_then(live_owner)
            && let Some(owned) = self.owners.get_mut(owner)
        {
            *owned -= 1;
            if *owned == 0 {
                self.owners.remove(owner);
            }
        }
        if let Some(owner) = session.as_deref().and_then(live_owner) {
            *self.owners.entry(owner.clone()).or_default() += 1;
        }
        before
    }
}

/// What became of a session.
pub(crate) enum SessionChange {
    Stored(Box<SessionSummary>),
    Removed,
    Unreadable,
}

impl Index for SessionIndex {
    type Record = SessionDocument;
    type Change = (SessionId, SessionChange);

    fn keep(key: String, change: RecordChange<SessionDocument>) -> Option<Self::Change> {
        let id = key.parse().ok()?;
        let change = match change {
            RecordChange::Stored(entry) if entry.value.id == id => {
                SessionChange::Stored(Box::new(SessionSummary::of(entry.value)))
            }
            RecordChange::Stored(_) | RecordChange::Unreadable => SessionChange::Unreadable,
            RecordChange::Removed => SessionChange::Removed,
        };
        Some((id, change))
    }

    fn key((id, _): &Self::Change) -> &str {
        id.as_str()
    }

    fn apply(&mut self, changes: Vec<Self::Change>) {
        let few = changes.len() <= self.sessions.len() / FEW + 1;
        for (id, change) in changes {
            match &change {
                SessionChange::Unreadable => self.unreadable.insert(id.clone()),
                _ => self.unreadable.remove(&id),
            };
            let session = match change {
                SessionChange::Stored(session) => Some(Arc::from(session)),
                SessionChange::Removed | SessionChange::Unreadable => None,
            };
            let before = self.replace(id, session.clone());
            if few {
                before.iter().for_each(|before| self.orders.remove(before));
                session.into_iter().for_each(|session| self.orders.insert(&session));
            }
        }
        if !few {
            self.orders = Orders::of(&self.sessions);
        }
    }
}

impl Orders {
    fn of(sessions: &HashMap<SessionId, Arc<SessionSummary>>) -> Self {
        let all: ByCreation<_> = sessions.values().cloned().collect();
        let listed = all.iter().filter(|session| session.is_listed).cloned().collect();
        let of = |status| all.iter().filter(|one| one.status == status).cloned().collect();
        let mut by_account: HashMap<_, Vec<_>> = HashMap::new();
        for session in all.iter() {
            if let Some(Maker { token_id, .. }) = &session.made_by {
                by_account.entry(token_id.clone()).or_default().push(Arc::clone(session));
            }
        }
        let by_account =
            by_account.into_iter().map(|(token_id, made)| (token_id, made.into_iter().collect()));
        Self { by_status: STATUSES.map(of), by_account: by_account.collect(), listed, all }
    }

    fn insert(&mut self, session: &Arc<SessionSummary>) {
        self.all.insert(Arc::clone(session));
        if session.is_listed {
            self.listed.insert(Arc::clone(session));
        }
        self.by_status[place(session.status)].insert(Arc::clone(session));
        if let Some(Maker { token_id, .. }) = &session.made_by {
            self.by_account.entry(token_id.clone()).or_default().insert(Arc::clone(session));
        }
    }

    fn remove(&mut self, session: &SessionSummary) {
        self.all.remove(session);
        self.listed.remove(session);
        self.by_status[place(session.status)].remove(session);
        if let Some(Maker { token_id, .. }) = &session.made_by
            && let Some(made) = self.by_account.get_mut(token_id)
        {
            made.remove(session);
            if made.len() == 0 {
                self.by_account.remove(token_id);
            }
        }
    }
}

fn place(status: Status) -> usize {
    match status {
        Status::Created => 0,
        Status::Active => 1,
        Status::Terminating => 2,
        Status::Terminated => 3,
        Status::Error => 4,
    }
}

fn live_owner(session: &SessionSummary) -> Option<&AgentId> {
    session.owner.as_ref().filter(|_| !session.status.is_final())
}

#[cfg(test)]
impl FromIterator<SessionDocument> for SessionIndex {
    fn from_iter<I: IntoIterator<Item = SessionDocument>>(documents: I) -> Self {
        let stored = |document: SessionDocument| {
            let session = Box::new(SessionSummary::of(document));
            (session.id.clone(), SessionChange::Stored(session))
        };
        let mut index = Self::default();
        index.apply(documents.into_iter().map(stored).collect());
        index
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(n: u8, status: Status, owner: Option<&str>) -> SessionDocument {
        SessionDocument {
            id: SessionId::from_bytes([n; 13]),
            status,
            owner: owner.map(|owner| owner.parse().unwrap()),
            created_at: u64::from(n / 3).into(),
            ..SessionDocument::sample()
        }
    }

    /// What is asked of an index, as plain values.
    fn content(index: &SessionIndex) -> (Vec<Vec<SessionId>>, Vec<AgentId>, usize) {
        let statuses = STATUSES.iter().map(|status| index.of_status(*status));
        let orders = [index.all(), index.listed()].into_iter().chain(statuses);
        let ids = |order: &ByCreation<SessionSummary>| {
            order.iter().map(|session| session.id.clone()).collect()
        };
        (orders.map(ids).collect(), index.owners().cloned().collect(), index.unreadable())
    }

    proptest! {
        /// Whatever comes one by one or at once, the same is there in the end.
        #[test]
        fn orders_and_numbers_are_those_of_what_is_stored_last(
            changes in prop::collection::vec((0u8..40, 0usize..7, 0u8..3), 0..200),
            together in 1usize..80,
        ) {
            let mut index = SessionIndex::default();
            let mut last = BTreeMap::new();
            for part in changes.chunks(together) {
                let change = |&(n, what, owner): &(u8, usize, u8)| {
                    let owner = ["a", "b"].get(usize::from(owner)).copied();
                    let stored = STATUSES.get(what).map(|status| document(n, *status, owner));
                    let change = match &stored {
                        Some(document) => {
                            SessionChange::Stored(Box::new(SessionSummary::of(document.clone())))
                        }
                        None if what == 5 => SessionChange::Removed,
                        None => SessionChange::Unreadable,
                    };
                    last.insert(n, (stored, what == 6));
                    (SessionId::from_bytes([n; 13]), change)
                };
                index.apply(part.iter().map(change).collect());
            }
            let stored = last.values().filter_map(|(document, _)| document.clone());
            let (orders, owners, _) = content(&stored.collect());
            let unreadable = last.values().filter(|(_, unreadable)| *unreadable).count();
            prop_assert_eq!(content(&index), (orders, owners, unreadable));
        }
    }

    #[test]
    fn a_session_that_begins_anew_under_its_id_has_one_place() {
        let mut index: SessionIndex = [document(6, Status::Error, None)].into_iter().collect();
        let again =
            SessionDocument { created_at: 99.into(), ..document(6, Status::Created, Some("a")) };
        let change = RecordChange::Stored(stream_bridge::Entry { value: again, revision: 2 });
        let id = SessionId::from_bytes([6; 13]);
        index.apply(SessionIndex::keep(id.to_string(), change).into_iter().collect());
        assert_eq!((index.all().len(), index.of_status(Status::Error).len()), (1, 0));
        assert_eq!(index.find(&id).map(|session| session.created_at), Some(99.into()));
        assert!(SessionIndex::keep("no id".to_owned(), RecordChange::Removed).is_none());
    }
}
