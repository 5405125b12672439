//! Those who wait for changes of one record each.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What is watched, and how often.
#[derive(Default)]
pub(super) struct Watchers(Mutex<BTreeMap<String, Watched>>);

#[derive(Default)]
struct Watched {
    news: Arc<Notify>,
    count: usize,
}

impl Watchers {
    /// Returns what is notified of each change of `key`, until it is given back.
    pub(super) fn watch(&self, key: &str) -> Arc<Notify> {
        let mut watched = self.0.lock();
        let watched = watched.entry(key.to_owned()).or_default();
        watched.count += 1;
        Arc::clone(&watched.news)
    }

    /// Gives one watch of `key` back.
    pub(super) fn unwatch(&self, key: &str) {
        let mut watched = self.0.lock();
        if let Some(of_key) = watched.get_mut(key) {
            of_key.count -= 1;
            if of_key.count == 0 {
                watched.remove(key);
            }
        }
    }

    /// Notifies those who watch one of the keys that have `changed`; `None` is any.
    pub(super) fn notify(&self, changed: Option<Vec<String>>) {
        let watched = self.0.lock();
        match changed {
            None => watched.values().for_each(|watched| watched.news.notify_waiters()),
            Some(keys) => keys
                .iter()
                .filter_map(|key| watched.get(key))
                .for_each(|watched| watched.news.notify_waiters()),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn whoever_watches_hears_of_their_key_and_of_what_may_be_any() {
        let watchers = Watchers::default();
        let (a, b) = (watchers.watch("a"), watchers.watch("b"));
        let mut heard = [Box::pin(a.notified()), Box::pin(b.notified())];
        watchers.notify(Some(vec!["a".to_owned(), "c".to_owned()]));
        let [of_a, of_b] = heard.each_mut().map(|heard| heard.now_or_never().is_some());
        assert_eq!((of_a, of_b), (true, false));
        let again = a.notified();
        watchers.notify(None);
        assert!(again.now_or_never().is_some() && heard[1].as_mut().now_or_never().is_some());
    }

    #[test]
    fn what_nobody_watches_any_more_is_forgotten() {
        let watchers = Watchers::default();
        let (first, second) = (watchers.watch("a"), watchers.watch("a"));
        assert!(Arc::ptr_eq(&first, &second));
        watchers.unwatch("a");
        let heard = first.notified();
        watchers.notify(None);
        assert!(heard.now_or_never().is_some(), "the other still watches");
        watchers.unwatch("a");
        assert!(watchers.0.lock().is_empty());
    }
}
