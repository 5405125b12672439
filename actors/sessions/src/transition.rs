//! What a change of a session's state may lead to.

/// Why a change does not fit the state of a session, as a sentence for whoever asked.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct InvalidTransition(pub(crate) String);

/// What the owner, or for an unclaimed session anybody, has to do about it now.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum NextAction {
    /// Begin the end, with this cause.
    BeginEnd {
        cause: String,
        failed: bool,
    },
    /// Somebody has joined: the time without a client begins anew.
    RestartIdleTimer,
    /// End the connections to ADB whose share is over.
    EndAdb,
    /// Nobody is known to have come in time: end the session unless its signals tell otherwise.
    CheckClient,
    /// Finish an end that has begun.
    FinishEnd,
    /// Delete the instance that was kept after the end.
    DeleteKept,
    None,
}
