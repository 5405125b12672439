//! What an operator sees of an actor.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime};

use serde::Serialize;

use crate::failure::Failure;
use crate::mailbox::Gauge;

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorState {
    Running,
    /// Failed; waiting before it is rebuilt. Messages queue meanwhile.
    Backoff,
    Stopped,
}

/// One actor at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct ActorStatus {
    pub name: &'static str,
    pub state: ActorState,
    /// How often the state was rebuilt since the process started.
    pub restarts: u64,
    pub last_failure: Option<LastFailure>,
    /// Messages queued or in work now.
    pub depth: usize,
    /// The most there ever were.
    pub high_water: usize,
    /// How many there may be.
    pub capacity: usize,
    /// How many messages were refused because there were as many.
    pub refused: u64,
    /// Seconds since the state was last built.
    pub uptime: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct LastFailure {
    /// Unix seconds.
    pub at: u64,
    pub cause: String,
}

/// The record that host, guard and supervisor share about one actor.
pub(crate) struct Record {
    pub(crate) name: &'static str,
    restarts: AtomicU64,
    latest: Mutex<Latest>,
}

struct Latest {
    state: ActorState,
    failure: Option<LastFailure>,
    built: Instant,
}

impl Record {
    pub(crate) fn new(name: &'static str) -> Self {
        let latest = Latest { state: ActorState::Running, failure: None, built: Instant::now() };
        Self { name, restarts: AtomicU64::new(0), latest: Mutex::new(latest) }
    }

    pub(crate) fn failed(&self, failure: &Failure) {
        let at = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs());
        let mut latest = self.latest();
        latest.state = ActorState::Backoff;
        latest.failure = Some(LastFailure { at, cause: failure.to_string() });
        self.restarts.fetch_add(1, Relaxed);
    }

    pub(crate) fn built(&self) {
        let mut latest = self.latest();
        latest.state = ActorState::Running;
        latest.built = Instant::now();
    }

    pub(crate) fn stopped(&self) {
        self.latest().state = ActorState::Stopped;
    }

    pub(crate) fn status(&self, gauge: &Gauge) -> ActorStatus {
        let latest = self.latest();
        ActorStatus {
            name: self.name,
            state: latest.state,
            restarts: self.restarts.load(Relaxed),
            last_failure: latest.failure.clone(),
            depth: gauge.depth(),
            high_water: gauge.high_water(),
            capacity: gauge.capacity(),
            refused: gauge.refused(),
            uptime: latest.built.elapsed().as_secs(),
        }
    }

    fn latest(&self) -> std::sync::MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
