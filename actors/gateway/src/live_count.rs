//! How many there are of what a gateway waits for that drains or stops.

use std::sync::{Arc, Weak};

/// Counts what is alive: open sockets, or clients who may return. Clones share the count, which
/// outlives a failure of the actor.
#[derive(Clone, Default)]
pub(crate) struct LiveCount(Arc<()>);

/// One that is alive; dropping it counts one less.
pub(crate) struct LiveGuard {
    _counted: Weak<()>,
}

impl LiveCount {
    /// Counts one more, for as long as the guard lives.
    pub(crate) fn add(&self) -> LiveGuard {
        LiveGuard { _counted: Arc::downgrade(&self.0) }
    }

    /// Returns how many are alive now.
    pub(crate) fn count(&self) -> usize {
        Arc::weak_count(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counts_until_its_guard_is_dropped() {
        let count = LiveCount::default();
        let (first, second) = (count.add(), count.clone().add());
        assert_eq!(count.count(), 2);
        drop(first);
        assert_eq!(count.count(), 1);
        drop(second);
        assert_eq!(count.count(), 0);
    }
}
