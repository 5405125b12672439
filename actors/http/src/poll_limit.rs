//! How many long-polls one caller may have waiting.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The polls that wait, by caller; clones share them.
#[derive(Clone)]
pub struct PollLimit {
    limit: usize,
    waiting: Arc<Mutex<HashMap<String, usize>>>,
}

/// A poll that waits, until it is dropped.
pub struct PollPlace {
    limit: PollLimit,
    caller: String,
}

impl PollLimit {
    /// Allows each caller `limit` polls at a time.
    pub fn new(limit: usize) -> Self {
        Self { limit, waiting: Arc::default() }
    }

    /// Counts a poll of `caller`; `None` when it has as many as it may have.
    pub fn enter(&self, caller: &str) -> Option<PollPlace> {
        let mut waiting = self.waiting.lock();
        let count = waiting.get(caller).copied().unwrap_or(0);
        if count >= self.limit {
            return None;
        }
        waiting.insert(caller.to_owned(), count + 1);
        Some(PollPlace { limit: self.clone(), caller: caller.to_owned() })
    }
}

impl Drop for PollPlace {
    fn drop(&mut self) {
        let mut waiting = self.limit.waiting.lock();
        if let Some(count) = waiting.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_its_number_of_polls_and_gets_places_back() {
        let limit = PollLimit::new(2);
        let (first, second) = (limit.enter("a"), limit.enter("a"));
        assert!(first.is_some() && second.is_some() && limit.enter("a").is_none());
        assert!(limit.enter("b").is_some(), "another");
        drop(first);
        assert!(limit.enter("a").is_some());
        drop(second);
        assert!(limit.waiting.lock().is_empty());
    }
}
