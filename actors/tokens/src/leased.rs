//! A value that counts for a while after it was read.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How long a value counts that is not read again: a minute, less the time that a read may take.
/// After that the unit cannot know who was revoked meanwhile, or which keys were retired.
const LEASE: Duration = Duration::from_secs(50);

/// The value that was read last. Clones share it, so that it survives a failure of the actor.
#[derive(Debug)]
pub(crate) struct Leased<T>(Arc<watch::Sender<Option<Value<T>>>>);

#[derive(Debug)]
struct Value<T> {
    value: Arc<T>,
    at: Instant,
}

impl<T> Leased<T> {
    /// Returns the value, unless none was read or the last one is too old at `now`.
    pub(crate) fn get(&self, now: Instant) -> Option<Arc<T>> {
        let read = self.0.borrow();
        let Value { value, at } = read.as_ref()?;
        (now.saturating_duration_since(*at) < LEASE).then(|| Arc::clone(value))
    }

    /// Returns the value that was read last, whatever its age.
    pub(crate) fn latest(&self) -> Option<Arc<T>> {
        self.0.borrow().as_ref().map(|read| Arc::clone(&read.value))
    }

    pub(crate) fn is_some(&self) -> bool {
        self.0.borrow().is_some()
    }

    pub(crate) fn set(&self, value: Arc<T>, at: Instant) {
        self.0.send_replace(Some(Value { value, at }));
    }

    /// Waits for a value for which `found` holds, whatever its age.
    pub(crate) async fn wait_for(&self, found: impl Fn(&T) -> bool) {
        let holds = |read: &Option<Value<T>>| read.as_ref().is_some_and(|read| found(&read.value));
        // It cannot fail: the sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(holds).await;
    }
}

impl<T> Clone for Leased<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Leased<T> {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn what_was_read_counts_until_its_lease_is_over() {
        let (latest, now) = (Leased::default(), Instant::now());
        assert_eq!(latest.get(now), None);
        latest.set(Arc::new(7), now);
        assert_eq!(latest.get(now + LEASE - Duration::from_secs(1)).as_deref(), Some(&7));
        assert_eq!(latest.get(now + LEASE), None);
        latest.set(Arc::new(8), now + LEASE);
        assert_eq!(latest.get(now + LEASE).as_deref(), Some(&8));
    }

    #[test]
    fn what_was_read_last_is_there_for_all_clones_whatever_its_age() {
        let latest = Leased::default();
        let clone = latest.clone();
        assert!(!clone.is_some() && clone.latest().is_none());
        let mut waiting = pin!(clone.wait_for(|value| *value == 7));
        let context = &mut Context::from_waker(Waker::noop());
        latest.set(Arc::new(6), Instant::now());
        assert!(waiting.as_mut().poll(context).is_pending(), "it is another one");
        latest.set(Arc::new(7), Instant::now());
        assert!(waiting.as_mut().poll(context).is_ready());
        assert!(clone.is_some());
        assert_eq!(clone.latest().as_deref(), Some(&7));
    }
}
