//! Becoming the client of a session, instead of whoever was it.

use stream_bridge::Bridge;
use stream_http::ScreenRequest;
use stream_protocol::{
    Client, DesiredState, OnConflict, Refusal, RefusalCode, Role, SessionDocument, SessionId,
    Status,
};

use super::ClientSession;
use crate::{client_lease, owner, session_documents};

/// Makes the caller the client of session `id` in `role`, with the screen it asks for.
///
/// # Errors
///
/// Refuses a session that is not active, and one that has a client and does not replace it.
pub(crate) async fn join_session(
    bridge: &Bridge,
    id: &SessionId,
    screen: ScreenRequest,
    role: Role,
) -> Result<ClientSession, Refusal> {
    let leased = acquire_lease(bridge, id).await?;
    let document = session_documents::change(bridge, id, |document| {
        may_join(document)?;
        if leased.is_some_and(|generation| generation != document.generation) {
            return Err(conflict());
        }
        let screen = screen.over(document.request.screen)?;
        document.generation += 1;
        document.desired.client = Some(Client { screen, role });
        Ok(())
    })
    .await?;
    let ice_servers = owner::join(bridge, id).await?;
    Ok(ClientSession { document, ice_servers })
}

/// Reserves the client lease for the next client of a session that does not replace the present
/// one. Returns the generation that was found without a client, or `None` where clients are
/// replaced.
async fn acquire_lease(bridge: &Bridge, id: &SessionId) -> Result<Option<u64>, Refusal> {
    let document = session_documents::read(bridge, id).await?.value;
    if document.request.on_conflict == OnConflict::Replace {
        return Ok(None);
    }
    may_join(&document)?;
    if client_lease::is_taken(bridge, &document).await? {
        return Err(conflict());
    }
    client_lease::reserve(bridge, id, document.generation + 1).await;
    Ok(Some(document.generation))
}

fn conflict() -> Refusal {
    Refusal::new(RefusalCode::Conflict, "session has a client, and does not replace it")
}

fn may_join(document: &SessionDocument) -> Result<(), Refusal> {
    let sentence = match document.status {
        Status::Active if document.desired.state == DesiredState::Running => return Ok(()),
        Status::Created => "session is not active yet",
        Status::Active | Status::Terminating => "session is ending",
        Status::Terminated | Status::Error => "session has ended",
    };
    Err(Refusal::new(RefusalCode::Conflict, sentence))
}
