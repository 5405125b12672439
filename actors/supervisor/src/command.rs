//! What the supervisor's thread and the actors tell each other.

use crate::tree::Node;

/// What the supervisor wants of an actor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Command {
    /// Throw the state away and read no message.
    Suspend,
    /// Build fresh state and go on.
    Restart,
}

/// What an actor tells the supervisor's thread.
#[derive(Debug)]
pub(crate) enum Event {
    /// The actor has failed too often; the text is the cause of its last failure.
    Escalated(Node, String),
    /// The actor has carried the command out.
    Done(Node, Command),
}
