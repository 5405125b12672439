//! What a restart of the actor keeps.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::presence::PresenceTracker;
use crate::served_sessions::ServedSessions;
use crate::sweep::SweepTurn;
use crate::write_limit::WriteLimiter;

/// The parts that a restart keeps; the crate doc says why for each. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct SharedState {
    pub(crate) served: ServedSessions,
    pub(crate) writes: Arc<Mutex<WriteLimiter>>,
    pub(crate) presence: Arc<tokio::sync::Mutex<PresenceTracker>>,
    pub(crate) sweep_turn: Arc<SweepTurn>,
}
