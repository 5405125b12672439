//! All accounts by their names. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use stream_bridge::RecordChange;

use super::view::Index;
use crate::account_record::{Account, AccountName};

/// The accounts by the keys of their records; `None` for a record that this version cannot read.
#[derive(Default)]
pub(crate) struct AccountIndex(HashMap<String, Option<Arc<Account>>>);

impl AccountIndex {
    /// How many there are, those among them that cannot be read.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn find(&self, name: &AccountName) -> Option<&Arc<Account>> {
        self.0.get(&name.key())?.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.0.values().flatten()
    }
}

impl Index for AccountIndex {
    type Record = Account;
    type Change = (String, RecordChange<Account>);

    fn keep(key: String, change: RecordChange<Account>) -> Option<Self::Change> {
        Some((key, change))
    }

    fn key((key, _): &Self::Change) -> &str {
        key
    }

    fn apply(&mut self, changes: Vec<Self::Change>) {
        for (key, change) in changes {
            match change {
                RecordChange::Stored(entry) => self.0.insert(key, Some(Arc::new(entry.value))),
                RecordChange::Unreadable => self.0.insert(key, None),
                RecordChange::Removed => self.0.remove(&key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use stream_bridge::Entry;

    use super::*;

    #[test]
    fn an_account_is_found_by_its_name_as_long_as_it_is_stored() {
        let anna = Account::sample("anna@example.org");
        let (name, key) = (anna.name.clone(), anna.name.key());
        let stored = RecordChange::Stored(Entry { value: anna, revision: 1 });
        let mut index = AccountIndex::default();
        index.apply(vec![(key.clone(), stored), ("b".to_owned(), RecordChange::Unreadable)]);
        assert_eq!(index.find(&name).map(|found| &found.name), Some(&name));
        assert_eq!((index.len(), index.iter().count()), (2, 1));
        index.apply(vec![(key, RecordChange::Removed)]);
        assert!(index.find(&name).is_none());
    }
}
