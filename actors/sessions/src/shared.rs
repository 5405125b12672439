//! What a restart of the actor keeps.

use std::sync::Arc;

use stream_socket::WriteLimiter;

use crate::metrics::SessionMetrics;
use crate::presence::PresenceTracker;
use crate::served_sessions::ServedSessions;
use crate::sweep::SweepTurn;

/// The parts that a restart keeps; the crate doc says why for each. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct SharedState {
    pub(crate) served: ServedSessions,
    pub(crate) writes: WriteLimiter,
    pub(crate) metrics: SessionMetrics,
    pub(crate) presence: Arc<tokio::sync::Mutex<PresenceTracker>>,
    pub(crate) sweep_turn: Arc<SweepTurn>,
}
