//! Which way the calls of an instance go to its agent, now and next.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::watch;

/// After so many answered calls a hopping instance changes its transport. An exchange of two
/// signals is two calls, so that both reads and writes come first after a change.
const CALLS_PER_HOP: u32 = 3;

/// How an instance exchanges commands, reports and signals with its agent. ICE servers are asked
/// for over REST by every one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Transport {
    /// Requests, and long polls for what it waits for.
    #[default]
    Rest,
    /// The control and the signaling socket.
    Socket,
    /// Both in turns: it changes after every few calls, for as long as it lives.
    Hop,
}

/// What the next call goes over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Route {
    Rest,
    Socket,
}

/// Follows a [`Transport`].
pub(super) struct Router {
    hops: bool,
    answered: AtomicU32,
    route: watch::Sender<Route>,
}

impl Router {
    pub(super) fn new(transport: Transport) -> Self {
        let first = match transport {
            Transport::Rest | Transport::Hop => Route::Rest,
            Transport::Socket => Route::Socket,
        };
        Self {
            hops: transport == Transport::Hop,
            answered: AtomicU32::new(0),
            route: watch::Sender::new(first),
        }
    }

    /// What the next call goes over.
    pub(super) fn route(&self) -> Route {
        *self.route.borrow()
    }

    /// Returns a receiver of the route, now and as it changes.
    pub(super) fn watch(&self) -> watch::Receiver<Route> {
        self.route.subscribe()
    }

    /// Takes note that a call was answered, after which another route may be due.
    pub(super) fn on_answered(&self) {
        let answered = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        if self.hops && answered.is_multiple_of(CALLS_PER_HOP) {
            self.route.send_modify(|route| {
                *route = match route {
                    Route::Rest => Route::Socket,
                    Route::Socket => Route::Rest,
                };
                log::debug!(route:? = *route; "the transport changes");
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(transport: Transport) -> Vec<Route> {
        let router = Router::new(transport);
        let next = || {
            router.on_answered();
            router.route()
        };
        [router.route()].into_iter().chain((0..6).map(|_| next())).collect()
    }

    #[test]
    fn only_a_hopping_instance_changes_its_route() {
        use Route::{Rest, Socket};
        assert_eq!(routes(Transport::Rest), [Rest; 7]);
        assert_eq!(routes(Transport::Socket), [Socket; 7]);
        let hops = [Rest, Rest, Rest, Socket, Socket, Socket, Rest];
        assert_eq!(routes(Transport::Hop), hops);
    }
}
