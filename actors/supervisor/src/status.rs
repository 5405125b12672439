//! What an operator sees of an actor.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime};

use serde::Serialize;

use crate::capacity::Capacity;
use crate::dedicated::LeakedThreads;
use crate::failure::Failure;

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorState {
    Running,
    /// Failed, or not ready yet; messages queue meanwhile.
    Backoff,
    /// Failed too often: its parent restarts it. Messages queue meanwhile.
    Escalated,
    Stopped,
}

/// One actor at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct ActorStatus {
    pub name: &'static str,
    /// The groups it is in, outermost first, joined by `/`; empty directly under the root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    pub state: ActorState,
    /// How often the state was rebuilt, or is being rebuilt, since the process started.
    pub restarts: u64,
    pub failures: Failures,
    pub last_failure: Option<LastFailure>,
    /// Messages queued or in work now.
    pub depth: usize,
    /// The most there ever were.
    pub high_water: usize,
    /// How many there may be.
    pub capacity: usize,
    /// How many messages were refused because there were as many.
    pub refused: u64,
    /// Threads given up by an actor on a thread of its own that have not ended since.
    pub abandoned: usize,
    /// Seconds since the state was last built.
    pub uptime: u64,
}

/// How often an actor failed, by kind, since the process started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Failures {
    pub panics: u64,
    /// Answers, or starts, that took too long.
    pub deadlines: u64,
    /// Errors that the worker itself declared fatal, and starts that failed.
    pub errors: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct LastFailure {
    /// Unix seconds.
    pub at: u64,
    pub cause: String,
}

/// The record that cell, runner and supervisor share about one actor.
pub(crate) struct Record {
    pub(crate) name: &'static str,
    group: String,
    restarts: AtomicU64,
    pub(crate) abandoned: LeakedThreads,
    latest: Mutex<Latest>,
}

struct Latest {
    state: ActorState,
    failures: Failures,
    failure: Option<LastFailure>,
    built: Instant,
}

impl Record {
    pub(crate) fn new(name: &'static str, group: String) -> Self {
        let latest = Latest {
            state: ActorState::Running,
            failures: Failures::default(),
            failure: None,
            built: Instant::now(),
        };
        let (restarts, abandoned) = (AtomicU64::new(0), LeakedThreads::default());
        Self { name, group, restarts, abandoned, latest: Mutex::new(latest) }
    }

    /// Whether `name` means this actor: its own name, or that with its groups before it.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        match name.rsplit_once('/') {
            Some((group, name)) => self.group == group && self.name == name,
            None => self.name == name,
        }
    }

    pub(crate) fn failed(&self, failure: &Failure, state: ActorState) {
        let mut latest = self.latest();
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

    /// Notes that the parent restarts this actor.
    pub(crate) fn restarted_by_parent(&self) {
        self.restarts.fetch_add(1, Relaxed);
        self.set(ActorState::Backoff);
    }

    /// Notes that the actor's thread answers no more.
    pub(crate) fn wedged(&self, cause: String) {
        let mut latest = self.latest();
        latest.state = ActorState::Escalated;
        latest.failure = Some(LastFailure::now(cause));
    }

    pub(crate) fn built(&self) {
        let mut latest = self.latest();
        latest.state = ActorState::Running;
        latest.built = Instant::now();
    }

    pub(crate) fn set(&self, state: ActorState) {
        self.latest().state = state;
    }

    pub(crate) fn status(&self, capacity: &Capacity) -> ActorStatus {
        let latest = self.latest();
        ActorStatus {
            name: self.name,
            group: self.group.clone(),
            state: latest.state,
            restarts: self.restarts.load(Relaxed),
            failures: latest.failures,
            last_failure: latest.failure.clone(),
            depth: capacity.depth(),
            high_water: capacity.high_water(),
            capacity: capacity.bound(),
            refused: capacity.refused(),
            abandoned: self.abandoned.number(),
            uptime: latest.built.elapsed().as_secs(),
        }
    }

    fn latest(&self) -> std::sync::MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl LastFailure {
    fn now(cause: String) -> Self {
        Self { at: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs()), cause }
    }
}
