//! Becoming the client of a session, instead of whoever was it.

use std::cell::Cell;

use stream_bridge::Bridge;
use stream_http::ScreenRequest;
use stream_protocol::{
    Client, DesiredState, OnConflict, Refusal, RefusalCode, Role, SessionDocument, SessionId,
    Status,
};

use super::ClientSession;
use super::socket_url::SocketUrls;
use crate::response::HttpError;
use crate::{client_lease, owner, session_documents};

/// How often a client tries to enter while others enter before it.
const MAX_ATTEMPTS: usize = 16;

/// Makes the caller the client of session `id` in `role`, with the screen it asks for. Whoever is
/// the client stays until the caller has all that it needs.
///
/// # Errors
///
/// Refuses a session that is not active, and one that has a client and does not replace it. A
/// refusal changes nothing.
pub(crate) async fn join_session(
    bridge: &Bridge,
    urls: &SocketUrls<'_>,
    id: &SessionId,
    screen: ScreenRequest,
    role: Role,
) -> Result<ClientSession, HttpError> {
    let mut found = session_documents::read(bridge, id).await?.value;
    may_join(&found)?;
    let ice_servers = owner::join(bridge, id).await?;
    for _ in 0..MAX_ATTEMPTS {
        let generation = found.generation + 1;
        let url = urls.make(id, generation).await?;
        acquire_lease(bridge, &found).await?;
        if let Some(document) = enter(bridge, id, generation, screen, role).await? {
            return Ok(ClientSession { document, ice_servers, url });
        }
        found = session_documents::read(bridge, id).await?.value;
    }
    Err(Refusal::new(RefusalCode::Busy, "too many clients join the session at once").into())
}

/// Makes the client of `generation` the present one. Returns `None` when another client has entered
/// since the generation before was read.
async fn enter(
    bridge: &Bridge,
    id: &SessionId,
    generation: u64,
    screen: ScreenRequest,
    role: Role,
) -> Result<Option<SessionDocument>, Refusal> {
    let entered = Cell::new(false);
    let document = session_documents::change(bridge, id, |document| {
        may_join(document)?;
        entered.set(document.generation + 1 == generation);
        if entered.get() {
            let screen = screen.over(document.request.screen)?;
            document.generation = generation;
            document.desired.client = Some(Client { screen, role });
        }
        Ok(())
    })
    .await?;
    Ok(entered.get().then_some(document))
}

/// Reserves the client lease for the next client of a session that does not replace the present
/// one.
///
/// # Errors
///
/// Refuses when the session has a client.
async fn acquire_lease(bridge: &Bridge, document: &SessionDocument) -> Result<(), Refusal> {
    if document.request.on_conflict == OnConflict::Replace {
        return Ok(());
    }
    if client_lease::is_taken(bridge, document).await? {
        let sentence = "session has a client, and does not replace it";
        return Err(Refusal::new(RefusalCode::Conflict, sentence));
    }
    client_lease::reserve(bridge, &document.id, document.generation + 1).await;
    Ok(())
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
