//! How many sockets one peer may have at once.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A peer that comes back may not know yet that its last socket is dead. More have no use, and
/// cost a place, a reader of the log and memory each.
const MAX_SOCKETS: usize = 2;

/// The sockets of each peer at this unit, the oldest first. Clones share them.
#[derive(Clone)]
pub struct SocketLimit<K: Eq + Hash>(Arc<Mutex<HashMap<K, VecDeque<Arc<Notify>>>>>);

/// The place of one socket, until it is dropped.
pub struct SocketPlace<K: Eq + Hash> {
    limit: SocketLimit<K>,
    peer: K,
    taken: Arc<Notify>,
}

impl<K: Eq + Hash> Default for SocketLimit<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Eq + Hash> SocketLimit<K> {
    /// Gives the newest socket of a peer a place; the oldest of too many loses its own.
    pub fn enter(&self, peer: K) -> SocketPlace<K> {
        self.enter_among(peer, MAX_SOCKETS)
    }

    /// Gives the newest socket of a peer its only place; the one before loses it.
    pub fn enter_alone(&self, peer: K) -> SocketPlace<K> {
        self.enter_among(peer, 1)
    }

    fn enter_among(&self, peer: K, max: usize) -> SocketPlace<K> {
        let taken = Arc::new(Notify::new());
        let mut sockets = self.0.lock();
        let places = sockets.entry(peer.clone()).or_default();
        places.push_back(Arc::clone(&taken));
        if places.len() > max
            && let Some(oldest) = places.pop_front()
        {
            oldest.notify_one();
        }
        SocketPlace { limit: self.clone(), peer, taken }
    }
}

impl<K: Eq + Hash> SocketPlace<K> {
    /// Returns when the socket has to end, since its peer has newer ones.
    pub async fn taken(&self) {
        self.taken.notified().await;
    }
}

impl<K: Eq + Hash> Drop for SocketPlace<K> {
    fn drop(&mut self) {
        let mut sockets = self.limit.0.lock();
        if let Some(places) = sockets.get_mut(&self.peer) {
            places.retain(|place| !Arc::ptr_eq(place, &self.taken));
            if places.is_empty() {
                sockets.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_oldest_of_too_many_sockets_loses_its_place() {
        let limit = SocketLimit::default();
        let enter = |generation: u64| limit.enter(("session", generation));
        let (first, other) = (enter(0), enter(1));
        let second = enter(0);
        assert!(first.taken().now_or_never().is_none());
        let third = enter(0);
        assert!(first.taken().now_or_never().is_some());
        drop((first, third));
        // There is room again.
        let fourth = enter(0);
        for place in [&second, &fourth, &other] {
            assert!(place.taken().now_or_never().is_none());
        }
        drop((second, fourth, other));
        assert!(limit.0.lock().is_empty());
    }

    #[test]
    fn a_peer_that_may_have_one_socket_loses_it_to_the_next() {
        let limit = SocketLimit::default();
        let first = limit.enter_alone("peer");
        let second = limit.enter_alone("peer");
        assert!(first.taken().now_or_never().is_some());
        assert!(second.taken().now_or_never().is_none());
    }
}
