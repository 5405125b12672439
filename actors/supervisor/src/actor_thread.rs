//! What an actor runs on, and how that is ended.

use actix::{Arbiter, ArbiterHandle};
use tokio::task::AbortHandle;

/// Where the actors of a supervisor run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Placement {
    /// Each on a thread of its own.
    OwnThreads,
    /// All on the thread that starts them.
    ThisThread,
}

/// What one actor runs on.
pub(crate) enum ActorThread {
    Own(Arbiter),
    /// A task of the thread that started it.
    Shared(AbortHandle),
}

impl ActorThread {
    /// Returns the thread that is the actor's own, while it runs.
    pub(crate) fn arbiter(&self) -> Option<ArbiterHandle> {
        match self {
            Self::Own(arbiter) => arbiter.alive().then(|| arbiter.handle()),
            Self::Shared(_) => None,
        }
    }

    /// Ends the actor, at its next await.
    pub(crate) fn stop(self) {
        match self {
            Self::Own(arbiter) => drop(arbiter.stop()),
            Self::Shared(task) => task.abort(),
        }
    }
}
