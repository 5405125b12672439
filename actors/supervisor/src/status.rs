//! What an operator sees of an actor.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use serde::Serialize;

use crate::capacity::Capacity;
use crate::failure::Failure;

/// What an actor is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ActorState {
    /// It reads its messages.
    Running,
    /// It has failed and is restarted soon; messages queue meanwhile.
    Backoff,
    /// It has failed too often, and its parent restarts it; messages queue meanwhile.
    Escalated,
    /// It has been stopped for good.
    Stopped,
}

/// One actor at one moment.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ActorStatus {
    /// The name it was started with.
    pub name: &'static str,
    /// What it is doing.
    pub state: ActorState,
    /// How often the state was rebuilt, or is being rebuilt, since the process started.
    pub restarts: u64,
    /// Its failures since the process started.
    pub failures: Failures,
    /// Its last failure, if there was one.
    pub last_failure: Option<LastFailure>,
    /// Messages queued or in work now.
    pub depth: usize,
    /// The highest [`depth`](Self::depth) since the process started.
    pub high_water: usize,
    /// The highest depth there may be.
    pub capacity: usize,
    /// How many messages were refused because the mailbox was full.
    pub refused: u64,
    /// Seconds since the state was last built.
    pub uptime: u64,
}

/// How often an actor failed, by kind, since the process started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Failures {
    /// Panics, in handlers, factories, timers and background work.
    pub panics: u64,
    /// Answers that took too long.
    pub deadlines: u64,
    /// Errors that the worker itself declared fatal.
    pub errors: u64,
}

/// When and why an actor failed last.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LastFailure {
    /// Unix seconds.
    pub at: u64,
    /// One sentence, for operators.
    pub cause: String,
}

/// What cell, runner and supervisor record about one actor.
pub(crate) struct Record {
    pub(crate) name: &'static str,
    restarts: AtomicU64,
    latest: Mutex<Latest>,
}

struct Latest {
    state: ActorState,
    failures: Failures,
    failure: Option<LastFailure>,
    built: Instant,
}

impl Record {
    pub(crate) fn new(name: &'static str) -> Self {
        let latest = Latest {
            state: ActorState::Running,
            failures: Failures::default(),
            failure: None,
            built: Instant::now(),
        };
        Self { name, restarts: AtomicU64::new(0), latest: Mutex::new(latest) }
    }

    /// Records a failure, after which the actor is in `state`.
    pub(crate) fn failed(&self, failure: &Failure, state: ActorState) {
        let mut latest = self.latest.lock();
        latest.state = state;
        latest.failure = Some(LastFailure::now(failure.to_string()));
        match failure {
            Failure::Panic(_) => latest.failures.panics += 1,
            Failure::Deadline(_) => latest.failures.deadlines += 1,
            Failure::Error(_) => latest.failures.errors += 1,
        }
        drop(latest);
        if state == ActorState::Backoff {
            self.restarts.fetch_add(1, Relaxed);
        }
    }

    /// Records that the parent restarts this actor.
    pub(crate) fn restarted_by_parent(&self) {
        self.restarts.fetch_add(1, Relaxed);
        self.set(ActorState::Backoff);
    }

    /// Records that the actor's thread is stuck.
    pub(crate) fn wedged(&self, cause: String) {
        let mut latest = self.latest.lock();
        latest.state = ActorState::Escalated;
        latest.failure = Some(LastFailure::now(cause));
    }

    /// Records that the state was built.
    pub(crate) fn built(&self) {
        let mut latest = self.latest.lock();
        latest.state = ActorState::Running;
        latest.built = Instant::now();
    }

    pub(crate) fn set(&self, state: ActorState) {
        self.latest.lock().state = state;
    }

    pub(crate) fn status(&self, capacity: &Capacity) -> ActorStatus {
        let latest = self.latest.lock();
        ActorStatus {
            name: self.name,
            state: latest.state,
            restarts: self.restarts.load(Relaxed),
            failures: latest.failures,
            last_failure: latest.failure.clone(),
            depth: capacity.depth(),
            high_water: capacity.high_water(),
            capacity: capacity.bound(),
            refused: capacity.refused(),
            uptime: latest.built.elapsed().as_secs(),
        }
    }
}

impl LastFailure {
    fn now(cause: String) -> Self {
        Self { at: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs()), cause }
    }
}
