//! Those who want to know of every change of a view.

use std::collections::BTreeSet;
use std::mem;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// So many keys are gathered for a subscriber that does not look; then it has to look at all.
const MAX_KEYS: usize = 1_000;

/// How far a bucket was read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Position {
    /// When the bucket was made, in Unix seconds: another one counts its revisions anew.
    pub(crate) created_at: u64,
    pub(crate) revision: u64,
}

/// What has changed since a subscriber looked last.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct News {
    /// The keys of what changed; `None` when that is too much to be told, or not known.
    pub(crate) changed: Option<BTreeSet<String>>,
    /// How far the view was read by then.
    pub(crate) position: Position,
}

impl News {
    /// Returns the news, with more keys of what changed before.
    pub(crate) fn and(mut self, keys: BTreeSet<String>) -> Self {
        if let Some(changed) = &mut self.changed {
            changed.extend(keys);
        }
        self
    }
}

/// Gathers what changes until it is looked at. However much that is, it takes little memory.
pub(crate) struct Subscription(Arc<Shared>);

struct Shared {
    /// A permit is there while there are news.
    told: Notify,
    news: Mutex<News>,
}

impl Subscription {
    /// Returns what has changed since the last call, as soon as something has.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&self) -> News {
        self.0.told.notified().await;
        self.take()
    }

    /// Returns what has changed since the last call; perhaps nothing.
    pub(crate) fn take(&self) -> News {
        let news = &mut *self.0.news.lock();
        let nothing = News { changed: Some(BTreeSet::new()), position: news.position };
        mem::replace(news, nothing)
    }
}

/// The subscribers of a view.
#[derive(Default)]
pub(super) struct Subscribers(Mutex<Vec<Weak<Shared>>>);

impl Subscribers {
    /// Returns what gathers the changes behind `position`.
    pub(super) fn subscribe(&self, position: Position) -> Subscription {
        let news = Mutex::new(News { changed: Some(BTreeSet::new()), position });
        let shared = Arc::new(Shared { told: Notify::new(), news });
        self.0.lock().push(Arc::downgrade(&shared));
        Subscription(shared)
    }

    /// Tells all that the records under these keys have `changed`, or any if that is not known.
    pub(super) fn tell(&self, changed: Option<&[String]>, position: Position) {
        self.0.lock().retain(|subscriber| {
            let Some(subscriber) = subscriber.upgrade() else { return false };
            subscriber.tell(changed, position);
            true
        });
    }
}

impl Shared {
    fn tell(&self, changed: Option<&[String]>, position: Position) {
        let news = &mut *self.news.lock();
        news.position = position;
        match (&mut news.changed, changed) {
            (_, Some([])) => return,
            (Some(keys), Some(more)) if keys.len() + more.len() <= MAX_KEYS => {
                keys.extend(more.iter().cloned());
            }
            (keys, _) => *keys = None,
        }
        self.told.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn at(revision: u64) -> Position {
        Position { created_at: 7, revision }
    }

    fn tell(subscribers: &Subscribers, keys: &[&str], revision: u64) {
        let keys: Vec<_> = keys.iter().map(|&key| key.to_owned()).collect();
        subscribers.tell(Some(&keys), at(revision));
    }

    #[test]
    fn what_changes_between_two_looks_is_told_once() {
        let subscribers = Subscribers::default();
        let subscription = subscribers.subscribe(at(3));
        assert!(subscription.next().now_or_never().is_none());
        tell(&subscribers, &[], 4);
        assert!(subscription.next().now_or_never().is_none(), "nothing of use has changed");
        tell(&subscribers, &["a", "b"], 6);
        tell(&subscribers, &["a"], 7);
        let news = subscription.next().now_or_never().unwrap();
        let keys = ["a", "b"].map(str::to_owned);
        assert_eq!(news, News { changed: Some(keys.into()), position: at(7) });
        assert_eq!(subscription.take(), News { changed: Some(BTreeSet::new()), position: at(7) });
    }

    #[test]
    fn who_does_not_look_has_to_look_at_all() {
        let subscribers = Subscribers::default();
        let subscription = subscribers.subscribe(at(0));
        for revision in 0..=MAX_KEYS as u64 {
            tell(&subscribers, &[&revision.to_string()], revision);
        }
        assert_eq!(subscription.take(), News { changed: None, position: at(MAX_KEYS as u64) });
        subscribers.tell(None, at(5));
        assert_eq!(subscription.next().now_or_never().unwrap().changed, None);
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let subscribers = Subscribers::default();
        drop(subscribers.subscribe(at(0)));
        subscribers.tell(None, at(1));
        assert!(subscribers.0.lock().is_empty());
    }
}
