//! What the gateway asks of the agent that owns a session.

use std::time::Duration;

use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::{self, SessionOp};
use stream_protocol::{ClientIce, Empty, IceServer, IceTerms, Refusal, SessionId, Terminate};

/// How long the owner may take to answer.
pub(crate) const OWNER_DEADLINE: Duration = Duration::from_secs(10);

/// What the owner of a session made of an order to end it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Termination {
    /// The owner is deleting the instance.
    Begun,
    /// The owner gave no answer. It finds the order in the document when it returns.
    OwnerAway,
}

/// Returns fresh ICE servers for the client of `session`, on its `terms`.
pub(crate) async fn ice_servers(
    bridge: &Bridge,
    session: &SessionId,
    terms: IceTerms,
) -> Result<Vec<IceServer>, Refusal> {
    let subject = subjects::session(session, SessionOp::Ice);
    let answer: ClientIce = bridge.ask(subject, &terms, OWNER_DEADLINE).await?;
    Ok(answer.ice_servers)
}

/// Tells the owner that `session` has a new client, and returns ICE servers for it, on its `terms`.
pub(crate) async fn join(
    bridge: &Bridge,
    session: &SessionId,
    terms: IceTerms,
) -> Result<Vec<IceServer>, Refusal> {
    let subject = subjects::session(session, SessionOp::Join);
    let answer: ClientIce = bridge.ask(subject, &terms, OWNER_DEADLINE).await?;
    Ok(answer.ice_servers)
}

/// Orders the owner to end `session` because of `cause`, and waits up to `deadline` for its answer.
pub(crate) async fn terminate(
    bridge: &Bridge,
    session: &SessionId,
    cause: String,
    deadline: Duration,
) -> Result<Termination, Refusal> {
    let subject = subjects::session(session, SessionOp::Terminate);
    match bridge.ask(subject, &Terminate { cause }, deadline).await {
        Ok(Empty {}) => Ok(Termination::Begun),
        Err(BridgeError::NoResponder | BridgeError::TimedOut) => Ok(Termination::OwnerAway),
        Err(error) => Err(error.into()),
    }
}
