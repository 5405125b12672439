//! Ending a session on request.

use std::time::Duration;

use stream_bridge::Bridge;
use stream_protocol::{Refusal, SessionId, Status};
use stream_tokens::Tokens;

use crate::owner::{self, Termination};
use crate::session_documents;

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
    let document = session_documents::end(bridge, id, Status::Terminated, &cause).await?;
    session_documents::unrevoke_kept(tokens, &document).await;
    log::info!(session:% = id, cause:%; "session is ended");
    if document.status.is_final() {
        return Ok(Progress::Ended(document.status));
    }
    owner::terminate(bridge, id, cause, deadline).await.map(Progress::Ending)
}
