//! The keys of a bucket. Pure.

use std::collections::HashSet;

use serde::de::IgnoredAny;
use stream_bridge::RecordChange;

use super::view::Index;

/// The keys under which something is stored.
#[derive(Default)]
pub(super) struct KeyIndex(HashSet<String>);

impl KeyIndex {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Index for KeyIndex {
    type Record = IgnoredAny;
    type Change = (String, bool);

    fn keep(key: String, change: RecordChange<IgnoredAny>) -> Option<Self::Change> {
        Some((key, !matches!(change, RecordChange::Removed)))
    }

    fn apply(&mut self, changes: Vec<Self::Change>) {
        for (key, is_there) in changes {
            match is_there {
                true => self.0.insert(key),
                false => self.0.remove(&key),
            };
        }
    }
}
