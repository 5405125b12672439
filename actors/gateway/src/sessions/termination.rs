//! Ending a session on request.

use std::time::Duration;

use stream_bridge::Bridge;
use stream_protocol::subjects::Bucket;
use stream_protocol::{Refusal, SessionDocument, SessionId, Status};
use stream_tokens::Tokens;
use tokio::time::{Instant, sleep};

use crate::error::tokens_refusal;
use crate::owner::{self, Termination};
use crate::session_documents;
use crate::session_summary::has_ended;

/// How long an owner may be silent, and NATS connected, before a missing presence counts.
const FORCE_DEADLINE: Duration = Duration::from_secs(5);

/// How long an owner that does not answer may still have a presence: the lease of one that has died
/// runs out within this time.
const LEASE_DEADLINE: Duration = Duration::from_secs(20);

/// Between two looks at the presence of an owner that does not answer.
const PRESENCE_POLL: Duration = Duration::from_secs(1);

/// Where a session is on its way to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Progress {
    /// The session has ended, with this status.
    Ended(Status),
    /// An agent owns the session and has to delete the instance first.
    Ending(Termination),
}

/// Ends the session `id` because of `cause`. The owner has `deadline` to answer.
///
/// # Errors
///
/// Refuses a session that does not exist.
pub(crate) async fn end_session(
    bridge: &Bridge,
    tokens: &Tokens,
    id: &SessionId,
    cause: String,
    deadline: Duration,
) -> Result<Progress, Refusal> {
    let document = session_documents::end(bridge, tokens, id, &cause).await?;
    log::info!(session:% = id, cause:%; "session is ended");
    if has_ended(&document) {
        return Ok(Progress::Ended(document.status));
    }
    owner::terminate(bridge, id, cause, deadline).await.map(Progress::Ending)
}

/// Ends the session `id` because of `cause`, also when its owner is away: when it has no presence
/// and does not answer, the document gets its end all the same. Waits for the lease of an owner
/// that has just died.
///
/// # Errors
///
/// Refuses a session that does not exist.
pub(crate) async fn force_end(
    bridge: &Bridge,
    tokens: &Tokens,
    id: &SessionId,
    cause: String,
) -> Result<Progress, Refusal> {
    let started = Instant::now();
    let absent = async |document: &SessionDocument| {
        Ok::<_, Refusal>(started.elapsed() >= FORCE_DEADLINE && is_absent(bridge, document).await?)
    };
    let mut progress = end_session(bridge, tokens, id, cause.clone(), FORCE_DEADLINE).await?;
    while progress == Progress::Ending(Termination::OwnerAway) {
        let document = session_documents::read(bridge, id).await?.value;
        if has_ended(&document) {
            return Ok(Progress::Ended(document.status));
        }
        if absent(&document).await? {
            // Before the status, as agents do it: no end leaves a token behind.
            let revoked = tokens.session_ended(id, document.outlives_its_end()).await;
            revoked.map_err(tokens_refusal)?;
            let document = session_documents::force_end(bridge, id, &cause).await?;
            log::warn!(session:% = id, cause:%; "session is ended without its agent");
            return Ok(Progress::Ended(document.status));
        }
        if started.elapsed() > LEASE_DEADLINE {
            break;
        }
        sleep(PRESENCE_POLL).await;
        progress = owner::terminate(bridge, id, cause.clone(), FORCE_DEADLINE)
            .await
            .map(Progress::Ending)?;
    }
    Ok(progress)
}

/// Whether the owner of the session is not there. Right after a connect nobody may be, since agents
/// announce themselves again.
async fn is_absent(bridge: &Bridge, document: &SessionDocument) -> Result<bool, Refusal> {
    if bridge.continuity(Bucket::Agents).await?.connected_for() < FORCE_DEADLINE {
        return Ok(false);
    }
    let Some(owner) = &document.owner else { return Ok(true) };
    // Whatever it says, and whether or not this version can read it.
    Ok(bridge.revision(Bucket::Agents, owner.as_str()).await?.is_none())
}
