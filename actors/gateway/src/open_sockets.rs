//! The number of open client sockets, which a draining gateway waits for.

use std::sync::{Arc, Weak};

/// Counts the open sockets. Shared state: it outlives a failure of the actor.
#[derive(Clone, Default)]
pub(crate) struct OpenSockets(Arc<()>);

/// One open socket; dropping it counts one less.
pub(crate) struct SocketGuard {
    _counted: Weak<()>,
}

impl OpenSockets {
    /// Counts one more socket, for as long as the guard lives.
    pub(crate) fn open(&self) -> SocketGuard {
        SocketGuard { _counted: Arc::downgrade(&self.0) }
    }

    /// Returns how many sockets are open now.
    pub(crate) fn count(&self) -> usize {
        Arc::weak_count(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_counts_until_its_guard_is_dropped() {
        let sockets = OpenSockets::default();
        let (first, second) = (sockets.open(), sockets.clone().open());
        assert_eq!(sockets.count(), 2);
        drop(first);
        assert_eq!(sockets.count(), 1);
        drop(second);
        assert_eq!(sockets.count(), 0);
    }
}
