//! Who waits for the revocation of what. Thousands of sockets wait, and tokens end all the time:
//! each revocation wakes those alone whom it names.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Watchers(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    next: u64,
    /// By the key of the record that would be stored.
    waiting: BTreeMap<String, BTreeMap<u64, Arc<Notify>>>,
}

/// What a read of the list has found that was not there before.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum News {
    /// Everything was read anew.
    #[default]
    Whole,
    /// The keys of the records.
    Added(Vec<String>),
}

impl Watchers {
    /// Has those look again whom `news` may be about.
    pub(crate) fn wake(&self, news: &News) {
        let inner = self.0.lock();
        let named: BTreeMap<_, _> = match news {
            News::Whole => inner.waiting.values().flatten().collect(),
            News::Added(keys) => {
                keys.iter().filter_map(|key| inner.waiting.get(key)).flatten().collect()
            }
        };
        named.values().for_each(|notify| notify.notify_one());
    }

    /// Waits until `found` says so, which is asked at once and whenever a record under one of
    /// `keys` may be new.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the next call asks first.
    pub(crate) async fn wait_for(&self, keys: Vec<String>, found: impl Fn() -> bool) {
        let place = self.enter(keys);
        while !found() {
            place.notify.notified().await;
        }
    }

    fn enter(&self, keys: Vec<String>) -> Place {
        let notify = Arc::<Notify>::default();
        let inner = &mut *self.0.lock();
        let number = inner.next;
        inner.next += 1;
        for key in &keys {
            inner.waiting.entry(key.clone()).or_default().insert(number, Arc::clone(&notify));
        }
        Place { watchers: self.clone(), number, keys, notify }
    }
}

/// One who waits, until it is dropped.
struct Place {
    watchers: Watchers,
    number: u64,
    keys: Vec<String>,
    notify: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let waiting = &mut self.watchers.0.lock().waiting;
        for key in &self.keys {
            let Some(places) = waiting.get_mut(key) else { continue };
            places.remove(&self.number);
            if places.is_empty() {
                waiting.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::poll_immediate;

    use super::*;

    fn added(key: &str) -> News {
        News::Added(vec![key.to_owned()])
    }

    #[tokio::test]
    async fn a_revocation_wakes_those_whom_it_names_and_nobody_else() {
        let watchers = Watchers::default();
        let asked = [(); 3].map(|()| Cell::new(0));
        let wait = |n: usize, keys: &[&str]| {
            let keys = keys.iter().map(|key| (*key).to_owned()).collect();
            let asked = &asked[n];
            watchers.wait_for(keys, move || {
                asked.set(asked.get() + 1);
                false
            })
        };
        let mut all = [
            Box::pin(wait(0, &["token.a", "session.s"])),
            Box::pin(wait(1, &["token.b", "session.s"])),
            Box::pin(wait(2, &["token.c"])),
        ];
        let mut counts = async || {
            for one in &mut all {
                assert!(poll_immediate(one).await.is_none());
            }
            asked.each_ref().map(Cell::get)
        };
        assert_eq!(counts().await, [1, 1, 1]);
        watchers.wake(&added("token.b"));
        assert_eq!(counts().await, [1, 2, 1]);
        watchers.wake(&added("session.s"));
        assert_eq!(counts().await, [2, 3, 1]);
        watchers.wake(&added("token.unheard"));
        assert_eq!(counts().await, [2, 3, 1]);
        watchers.wake(&News::Whole);
        assert_eq!(counts().await, [3, 4, 2]);
    }

    #[tokio::test]
    async fn whoever_goes_is_forgotten_and_what_comes_before_the_wait_counts() {
        let watchers = Watchers::default();
        let mut wait = Box::pin(watchers.wait_for(vec!["token.a".to_owned()], || false));
        assert!(poll_immediate(&mut wait).await.is_none());
        assert_eq!(watchers.0.lock().waiting.len(), 1);
        drop(wait);
        assert!(watchers.0.lock().waiting.is_empty());
        let there = watchers.wait_for(vec!["token.a".to_owned()], || true);
        assert!(poll_immediate(Box::pin(there)).await.is_some());
    }
}
