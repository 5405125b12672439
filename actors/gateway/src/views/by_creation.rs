//! Records in the order of lists: by creation, then id, so that pages fit together. Pure.

use std::sync::Arc;

use stream_protocol::Timestamp;

/// What has a place in a list.
pub(crate) trait Created {
    fn created_at(&self) -> Timestamp;
    fn id(&self) -> &str;
}

/// Records by creation, then id. A page costs what it holds, wherever it begins.
pub(crate) struct ByCreation<T>(Vec<Arc<T>>);

impl<T> Default for ByCreation<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Created> ByCreation<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.iter()
    }

    /// Returns up to `limit` records behind the first `offset`.
    pub(crate) fn page(&self, newest_first: bool, offset: usize, limit: usize) -> Vec<Arc<T>> {
        match newest_first {
            false => self.0.iter().skip(offset).take(limit).cloned().collect(),
            true => self.0.iter().rev().skip(offset).take(limit).cloned().collect(),
        }
    }

    pub(super) fn insert(&mut self, record: Arc<T>) {
        match self.position(&record) {
            Ok(at) => self.0[at] = record,
            Err(at) => self.0.insert(at, record),
        }
    }

    pub(super) fn remove(&mut self, record: &T) {
        if let Ok(at) = self.position(record) {
            self.0.remove(at);
        }
    }

    fn position(&self, record: &T) -> Result<usize, usize> {
        self.0.binary_search_by(|other| place(&**other).cmp(&place(record)))
    }
}

impl<T: Created> FromIterator<Arc<T>> for ByCreation<T> {
    fn from_iter<I: IntoIterator<Item = Arc<T>>>(records: I) -> Self {
        let mut records: Vec<_> = records.into_iter().collect();
        records.sort_by(|a, b| place(&**a).cmp(&place(&**b)));
        Self(records)
    }
}

fn place<T: Created>(record: &T) -> (Timestamp, &str) {
    (record.created_at(), record.id())
}
