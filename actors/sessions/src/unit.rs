//! What this unit has and is: owned by every answer that takes time.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use stream_pki::ServedIdentity;
use stream_protocol::{AgentId, SessionId};

use crate::{Config, Neighbours};

pub(crate) struct Unit {
    pub(crate) config: Config,
    pub(crate) served: ServedIdentity,
    pub(crate) neighbours: Neighbours,
    /// The sessions whose requests this unit serves; found again by the sweep after a restart.
    open: Mutex<BTreeSet<SessionId>>,
}

impl Unit {
    pub(crate) fn new(config: Config, served: ServedIdentity, neighbours: Neighbours) -> Self {
        Self { config, served, neighbours, open: Mutex::default() }
    }

    pub(crate) fn agent(&self) -> &AgentId {
        &self.config.name
    }

    pub(crate) fn open(&self) -> MutexGuard<'_, BTreeSet<SessionId>> {
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// How many more sessions this unit takes.
    pub(crate) fn free(&self) -> u32 {
        let open = u32::try_from(self.open().len()).unwrap_or(u32::MAX);
        self.config.capacity.saturating_sub(open)
    }
}

/// The time in Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs())
}
