//! What this unit has and is: owned by every answer that takes time.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use stream_pki::ServedIdentity;
use stream_protocol::{AgentId, Owner, SessionId};

use crate::alerts::Alerts;
use crate::limit::Writes;
use crate::reconcile::{Rules, Sightings};
use crate::{Config, Neighbours};

pub(crate) struct Unit {
    pub(crate) config: Config,
    pub(crate) served: ServedIdentity,
    pub(crate) neighbours: Neighbours,
    /// The sessions whose requests this unit serves; found again by the sweep after a restart.
    open: Mutex<BTreeSet<SessionId>>,
    /// The sessions whose launch is under way here.
    launching: Mutex<BTreeSet<SessionId>>,
    /// The sessions of our instances, by the ids of the instances.
    pub(crate) instances: Mutex<HashMap<String, SessionId>>,
    /// What each session wrote lately.
    pub(crate) writes: Arc<Mutex<Writes>>,
    /// What reconciliation has seen so far.
    pub(crate) sightings: Mutex<Sightings>,
    /// What only an operator can settle.
    pub(crate) alerts: Mutex<Alerts>,
}

impl Unit {
    pub(crate) fn new(config: Config, served: ServedIdentity, neighbours: Neighbours) -> Self {
        Self {
            config,
            served,
            neighbours,
            open: Mutex::default(),
            launching: Mutex::default(),
            instances: Mutex::default(),
            writes: Arc::default(),
            sightings: Mutex::default(),
            alerts: Mutex::default(),
        }
    }

    pub(crate) fn agent(&self) -> &AgentId {
        &self.config.name
    }

    pub(crate) fn open(&self) -> MutexGuard<'_, BTreeSet<SessionId>> {
        locked(&self.open)
    }

    /// This unit as an owner, with a fresh lease.
    pub(crate) fn owner(&self) -> Owner {
        Owner { agent: self.agent().clone(), lease_until: now() + self.config.lease_s }
    }

    /// Whose instances are ours in `cluster`.
    pub(crate) fn rules(&self, cluster: &str) -> Rules {
        Rules {
            agent: self.agent().clone(),
            deployment: self.config.deployment.clone(),
            cluster: cluster.to_owned(),
            gap: Duration::from_secs(self.config.sighting_s),
        }
    }

    /// Marks the launch of a session as under way, until the mark is dropped; `None` when one is.
    pub(crate) fn begin_launch(&self, id: &SessionId) -> Option<Launching<'_>> {
        let new = locked(&self.launching).insert(id.clone());
        new.then(|| Launching { unit: self, id: id.clone() })
    }

    /// How many more sessions this unit takes.
    pub(crate) fn free(&self) -> u32 {
        let open = u32::try_from(self.open().len()).unwrap_or(u32::MAX);
        self.config.capacity.saturating_sub(open)
    }
}

/// A launch that is under way.
pub(crate) struct Launching<'a> {
    unit: &'a Unit,
    id: SessionId,
}

impl Drop for Launching<'_> {
    fn drop(&mut self) {
        locked(&self.unit.launching).remove(&self.id);
    }
}

/// What is behind the locks is whole after every single change, so a panic spoils nothing.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The time in Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs())
}
