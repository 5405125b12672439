//! How far this process has come with NATS: the life of its one connection, as pure transitions.
//!
//! `C` is the client, which makes a lost connection again by itself; `S` is the store behind it,
//! once that was checked.

use tokio::time::Instant;

use crate::BridgeError;

/// The state of the connection. Every other combination of client and store is impossible.
#[derive(Debug)]
pub(crate) enum ConnectionState<C, S> {
    /// There is no client yet.
    Connecting { error: String },
    /// The client has connected for the first time; the store is being checked.
    Preparing { client: C, error: String },
    /// The store was checked, and the connection was not lost since.
    Ready(Ready<S>),
    /// The connection was lost. `checked` is the connect for which the store was checked last, or
    /// is being checked.
    Stale { store: S, error: String, checked: u64, is_checking: bool },
}

/// A store that was checked.
#[derive(Clone, Debug)]
pub(crate) struct Ready<S> {
    pub(crate) store: S,
    /// Since when NATS is connected without a break.
    pub(crate) since: Instant,
    /// The connect for which the store was checked: the client's first is 1.
    pub(crate) checked: u64,
}

/// The client's first connect.
pub(crate) const FIRST_CONNECT: u64 = 1;

impl<C, S> ConnectionState<C, S> {
    pub(crate) fn new() -> Self {
        Self::Connecting { error: "not connected yet".to_owned() }
    }

    /// Takes the client of the first connection. The caller has the store checked.
    pub(crate) fn on_client(&mut self, client: C) {
        let error = self.error().unwrap_or_default().to_owned();
        *self = Self::Preparing { client, error };
    }

    /// Takes the cause of an attempt that failed. The attempt goes on.
    pub(crate) fn on_failure(&mut self, cause: String) {
        match self {
            Self::Connecting { error }
            | Self::Preparing { error, .. }
            | Self::Stale { error, .. } => *error = cause,
            // Nothing is attempted in this state.
            Self::Ready(_) => {}
        }
    }

    /// Takes a store that was checked.
    pub(crate) fn on_ready(&mut self, ready: Ready<S>) {
        *self = Self::Ready(ready);
    }

    /// Takes a look at the client: whether it is connected, and how often it has connected. Returns
    /// the connect for which the caller has to have the store checked now: a server that came back
    /// may have lost what it kept in memory.
    pub(crate) fn on_check(&mut self, is_connected: bool, connects: u64) -> Option<u64>
    where
        S: Clone,
    {
        if let Self::Ready(Ready { store, checked, .. }) = self
            && (!is_connected || connects > *checked)
        {
            let (store, checked) = (store.clone(), *checked);
            let error = "the connection is lost".to_owned();
            *self = Self::Stale { store, error, checked, is_checking: false };
        }
        match self {
            Self::Stale { checked, is_checking, .. }
                if is_connected && connects > *checked && !*is_checking =>
            {
                (*checked, *is_checking) = (connects, true);
                Some(connects)
            }
            _ => None,
        }
    }

    /// Has a store that was off checked again, although the connection was not lost: what it kept
    /// in memory may be gone. Returns the connect for which the caller has to do so.
    pub(crate) fn on_store_back(&mut self) -> Option<u64>
    where
        S: Clone,
    {
        let Self::Ready(Ready { store, checked, .. }) = self else { return None };
        let (store, checked) = (store.clone(), *checked);
        let error = "the store was off".to_owned();
        *self = Self::Stale { store, error, checked, is_checking: true };
        Some(checked)
    }

    /// Returns the store to ask. After a loss it is asked before it is checked again: in a cluster
    /// that lost a server a part may be without a leader for a while, and the rest answers.
    pub(crate) fn store(&self, is_connected: impl FnOnce(&S) -> bool) -> Result<&S, BridgeError> {
        match self {
            Self::Ready(Ready { store, .. }) => Ok(store),
            Self::Stale { store, .. } if is_connected(store) => Ok(store),
            _ => Err(BridgeError::Disconnected(self.error().unwrap_or_default().to_owned())),
        }
    }

    /// Returns the checked store, or why there is none.
    pub(crate) fn ready(&self) -> Result<&Ready<S>, String> {
        match self {
            Self::Ready(ready) => Ok(ready),
            _ => Err(self.error().unwrap_or_default().to_owned()),
        }
    }

    /// Returns why there is no checked store.
    pub(crate) fn error(&self) -> Option<&str> {
        match self {
            Self::Connecting { error }
            | Self::Preparing { error, .. }
            | Self::Stale { error, .. } => Some(error),
            Self::Ready(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type State = ConnectionState<&'static str, &'static str>;

    fn ready(checked: u64) -> State {
        State::Ready(Ready { store: "store", since: Instant::now(), checked })
    }

    fn asked(state: &State, is_connected: bool) -> Result<&'static str, String> {
        state.store(|_| is_connected).copied().map_err(|error| error.to_string())
    }

    #[test]
    fn the_store_answers_once_it_was_checked_and_until_then_the_cause_is_told() {
        let mut state = State::new();
        assert!(asked(&state, true).unwrap_err().contains("not connected yet"));
        state.on_failure("refused".to_owned());
        assert!(asked(&state, true).unwrap_err().contains("refused"));
        state.on_client("client");
        assert!(asked(&state, true).unwrap_err().contains("refused"), "not checked yet");
        assert_eq!(state.on_check(true, FIRST_CONNECT + 1), None, "it is being checked");
        state.on_failure("no leader".to_owned());
        assert!(state.ready().unwrap_err().contains("no leader"));
        state.on_ready(Ready { store: "store", since: Instant::now(), checked: FIRST_CONNECT });
        assert_eq!((asked(&state, true), state.error()), (Ok("store"), None));
    }

    #[test]
    fn a_lost_connection_is_checked_once_for_each_connect_and_answers_meanwhile() {
        let mut state = ready(1);
        assert_eq!(state.on_check(true, 1), None);
        assert_eq!(state.on_check(false, 1), None, "it is away");
        assert!(asked(&state, false).unwrap_err().contains("the connection is lost"));
        assert_eq!(state.on_check(true, 1), None, "its connect is not counted yet");
        assert_eq!(state.on_check(true, 2), Some(2));
        assert_eq!(state.on_check(true, 3), None, "the check goes on");
        assert_eq!(asked(&state, true), Ok("store"));
        assert!(state.ready().is_err(), "what is missing there means nothing yet");
        state.on_ready(Ready { store: "checked", since: Instant::now(), checked: 2 });
        assert_eq!(state.on_check(true, 3), Some(3), "lost during the check");
    }

    #[test]
    fn a_store_that_was_off_is_checked_again_on_the_same_connection() {
        let mut state = ready(2);
        assert_eq!(state.on_store_back(), Some(2));
        assert_eq!((state.on_check(true, 2), state.on_store_back()), (None, None));
        assert!(state.ready().is_err() && asked(&state, true).is_ok());
        state.on_ready(Ready { store: "checked", since: Instant::now(), checked: 2 });
        assert_eq!(asked(&state, true), Ok("checked"));
    }

    #[test]
    fn a_break_too_short_to_be_seen_is_noticed_by_the_count() {
        let mut state = ready(4);
        assert_eq!(state.on_check(true, 5), Some(5));
        assert!(state.error().is_some());
    }
}
