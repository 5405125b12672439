//! What this unit has and is: owned by every answer that takes time.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use stream_pki::ServerIdentity;
use stream_protocol::{AgentId, SessionId};
use stream_supervisor::Drain;
use tokio::sync::Notify;

use crate::alerts::Alerts;
use crate::failure_detector::FailureDetector;
use crate::reconcile::{Scope, SightingHistory};
use crate::session_cache::SessionCache;
use crate::write_limit::WriteLimiter;
use crate::{Config, Dependencies};

/// Presence is kept no longer, whatever is configured.
const MAX_LEASE_S: u64 = 60;

pub(crate) struct AgentContext {
    pub(crate) config: Config,
    pub(crate) served: ServerIdentity,
    pub(crate) dependencies: Dependencies,
    /// The sessions whose requests this unit serves; found again by the sweep after a restart.
    open: Mutex<BTreeSet<SessionId>>,
    /// The sessions whose launch is under way here.
    launching: Mutex<BTreeSet<SessionId>>,
    /// The sessions of our instances, by the ids of the instances.
    pub(crate) instances: Mutex<HashMap<String, SessionId>>,
    /// What each session wrote lately.
    pub(crate) writes: Arc<Mutex<WriteLimiter>>,
    /// What the store holds of sessions, as far as it was read.
    pub(crate) session_cache: tokio::sync::Mutex<SessionCache>,
    /// What reconciliation has seen so far.
    pub(crate) sighting_history: Mutex<SightingHistory>,
    /// What only an operator can settle.
    pub(crate) alerts: Mutex<Alerts>,
    /// Held by a sweep.
    pub(crate) sweep_lock: tokio::sync::Mutex<()>,
    /// When the last one began.
    pub(crate) last_sweep: Mutex<Option<Instant>>,
    /// The other agents, as far as they were seen.
    pub(crate) failure_detector: Mutex<FailureDetector>,
    /// Told when this unit gave no sign of life for so long that others may have taken over.
    pub(crate) lease_expired: Notify,
    /// Whether this unit is to leave all it has to others.
    pub(crate) drain: Drain,
}

impl AgentContext {
    pub(crate) fn new(
        config: Config,
        served: ServerIdentity,
        dependencies: Dependencies,
        drain: Drain,
    ) -> Self {
        Self {
            config,
            served,
            dependencies,
            open: Mutex::default(),
            launching: Mutex::default(),
            instances: Mutex::default(),
            writes: Arc::default(),
            session_cache: tokio::sync::Mutex::default(),
            sighting_history: Mutex::default(),
            alerts: Mutex::default(),
            sweep_lock: tokio::sync::Mutex::default(),
            last_sweep: Mutex::default(),
            failure_detector: Mutex::default(),
            lease_expired: Notify::new(),
            drain,
        }
    }

    pub(crate) fn agent(&self) -> &AgentId {
        &self.config.name
    }

    pub(crate) fn serving(&self) -> MutexGuard<'_, BTreeSet<SessionId>> {
        locked(&self.open)
    }

    /// How long a unit that gives no sign of life counts as being there.
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_secs(self.config.lease_s.clamp(2, MAX_LEASE_S))
    }

    /// How many launches are under way here.
    pub(crate) fn launching(&self) -> usize {
        locked(&self.launching).len()
    }

    /// Whose instances are ours in `cluster`.
    pub(crate) fn scope(&self, cluster: &str) -> Scope {
        Scope {
            agent: self.agent().clone(),
            deployment: self.config.deployment.clone(),
            cluster: cluster.to_owned(),
            gap: Duration::from_secs(self.config.sighting_s),
        }
    }

    /// Marks the launch of a session as under way, until the mark is dropped; `None` when one is.
    pub(crate) fn begin_launch(&self, id: &SessionId) -> Option<LaunchGuard<'_>> {
        let new = locked(&self.launching).insert(id.clone());
        new.then(|| LaunchGuard { context: self, id: id.clone() })
    }

    /// How many more sessions this unit takes.
    pub(crate) fn free_capacity(&self) -> u32 {
        let open = u32::try_from(self.serving().len()).unwrap_or(u32::MAX);
        self.config.capacity.saturating_sub(open)
    }
}

/// A launch that is under way.
pub(crate) struct LaunchGuard<'a> {
    context: &'a AgentContext,
    id: SessionId,
}

impl Drop for LaunchGuard<'_> {
    fn drop(&mut self) {
        locked(&self.context.launching).remove(&self.id);
    }
}

/// What is behind the locks is whole after every single change, so a panic spoils nothing.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
