//! Who is restarted with whom. Pure: escalations and the time come in, actions come out.

use std::time::Duration;

use tokio::time::Instant;

use crate::restart::SlidingWindow;

/// How often a supervisor restarts actors that failed too often, together with those started after
/// each, which may depend on it ("rest for one").
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How many such restarts there may be within [`window`](Self::window). The next escalation
    /// makes the supervisor give up: [`Supervisor::fatal`](crate::Supervisor::fatal).
    pub intensity: u32,
    /// The period over which those restarts are counted.
    pub window: Duration,
}

impl Default for Policy {
    /// Three times within five minutes.
    fn default() -> Self {
        Self { intensity: 3, window: Duration::from_secs(300) }
    }
}

/// An actor, by its place in the order of start.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Node(usize);

/// What the tree wants done, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// Throw the state away and read no message until restarted.
    Suspend(Node),
    /// Build fresh state; the next actor follows when this one runs.
    Restart(Node),
    /// Nobody is left who could help.
    GiveUp,
}

/// The root and the actors under it.
pub(crate) struct Tree {
    policy: Policy,
    actors: usize,
    recent: SlidingWindow,
}

impl Tree {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, actors: 0, recent: SlidingWindow::default() }
    }

    pub(crate) fn add_actor(&mut self) -> Node {
        let node = Node(self.actors);
        self.actors += 1;
        node
    }

    /// Decides about `child`, which has failed more often than its own policy allows.
    pub(crate) fn escalated(&mut self, child: Node, now: Instant) -> Vec<Action> {
        if !self.recent.try_record(now, self.policy.intensity, self.policy.window) {
            return vec![Action::GiveUp];
        }
        let affected = || (child.0..self.actors).map(Node);
        affected().rev().map(Action::Suspend).chain(affected().map(Action::Restart)).collect()
    }
}

#[cfg(test)]
mod tests;
