//! How many sockets one client may have at once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use stream_protocol::SessionId;
use tokio::sync::Notify;

/// A client that comes back may not know yet that its last socket is dead. More have no use, and
/// cost a place, a reader of the log and memory each.
const MAX_SOCKETS: usize = 2;

/// A client: its session and its generation.
type Client = (SessionId, u64);

/// The sockets of each client at this gateway, the oldest first. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct SocketLimit(Arc<Mutex<HashMap<Client, VecDeque<Arc<Notify>>>>>);

/// The place of one socket, until it is dropped.
pub(crate) struct SocketPlace {
    limit: SocketLimit,
    client: Client,
    taken: Arc<Notify>,
}

impl SocketLimit {
    /// Gives the newest socket of a client a place; the oldest of too many loses its own.
    pub(crate) fn enter(&self, session: &SessionId, generation: u64) -> SocketPlace {
        let (client, taken) = ((session.clone(), generation), Arc::new(Notify::new()));
        let mut sockets = self.0.lock();
        let places = sockets.entry(client.clone()).or_default();
        places.push_back(Arc::clone(&taken));
        if places.len() > MAX_SOCKETS
            && let Some(oldest) = places.pop_front()
        {
            oldest.notify_one();
        }
        SocketPlace { limit: self.clone(), client, taken }
    }
}

impl SocketPlace {
    /// Returns when the socket has to end, since the client has newer ones.
    pub(crate) async fn taken(&self) {
        self.taken.notified().await;
    }
}

impl Drop for SocketPlace {
    fn drop(&mut self) {
        let mut sockets = self.limit.0.lock();
        if let Some(places) = sockets.get_mut(&self.client) {
            places.retain(|place| !Arc::ptr_eq(place, &self.taken));
            if places.is_empty() {
                sockets.remove(&self.client);
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
        let (limit, session) = (SocketLimit::default(), SessionId::random());
        let enter = |generation| limit.enter(&session, generation);
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
}
