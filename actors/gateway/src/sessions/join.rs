//! Becoming the client of a session, instead of whoever was it.

use std::cell::Cell;
use std::time::Duration;

use stream_bridge::Bridge;
use stream_http::ScreenRequest;
use stream_protocol::{
    IceTerms, OnConflict, Refusal, RefusalCode, Role, SessionDocument, SessionId,
};

use super::ClientSession;
use super::client_slot::{self, JoinError};
use super::socket_url::SocketUrls;
use crate::response::HttpError;
use crate::{client_lease, owner, session_documents};

/// How often a client tries to enter while others enter before it.
const MAX_ATTEMPTS: usize = 16;

/// As what a client joins.
#[derive(Clone, Copy)]
pub(crate) struct Newcomer {
    pub(crate) role: Role,
    /// What it asks for; nothing comes of it for a viewer.
    pub(crate) screen: ScreenRequest,
    pub(crate) terms: IceTerms,
    /// How long a client that has left may take to return.
    pub(crate) grace: Duration,
}

/// Makes the caller the client of session `id` in its role, with the screen it asks for. Whoever is
/// the client stays until the caller has all that it needs.
///
/// # Errors
///
/// Refuses a session that is not active, one that takes no client but its first, one that has a
/// client and does not replace it, and a viewer while a controlling client is there. A refusal
/// changes nothing.
pub(crate) async fn join_session(
    bridge: &Bridge,
    urls: &SocketUrls<'_>,
    id: &SessionId,
    newcomer: Newcomer,
) -> Result<ClientSession, HttpError> {
    let mut found = session_documents::read(bridge, id).await?.value;
    // A refusal costs the owner nothing.
    client_slot::judge(&found, newcomer.role, (newcomer.grace, bridge.now()))?;
    let ice_servers = owner::join(bridge, id, newcomer.terms).await?;
    for _ in 0..MAX_ATTEMPTS {
        let generation = found.generation + 1;
        let url = urls.make(id, generation, newcomer.role).await?;
        acquire_lease(bridge, &found, newcomer.role).await?;
        if let Some(document) = enter(bridge, id, generation, newcomer).await? {
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
    Newcomer { role, screen, grace, .. }: Newcomer,
) -> Result<Option<SessionDocument>, JoinError> {
    let entered = Cell::new(false);
    let edit = |document: &mut SessionDocument| {
        client_slot::judge(document, role, (grace, bridge.now()))?;
        entered.set(document.generation + 1 == generation);
        if entered.get() {
            let wanted = match role {
                Role::View => document.screen(),
                Role::Adb | Role::Control => screen.over(document.screen())?,
            };
            client_slot::enter(document, role, wanted);
        }
        Ok::<_, JoinError>(())
    };
    let document = bridge.change_session(id, edit).await?.value;
    Ok(entered.get().then_some(document))
}

/// Reserves the client lease for the next client of a session that does not replace the present
/// one.
///
/// # Errors
///
/// Refuses when the session has a client that the next one has to wait for.
async fn acquire_lease(
    bridge: &Bridge,
    document: &SessionDocument,
    role: Role,
) -> Result<(), JoinError> {
    if client_slot::waits(document, role) && client_lease::is_taken(bridge, document).await? {
        return Err(JoinError::occupied());
    }
    if document.request.on_conflict == OnConflict::Reject {
        client_lease::reserve(bridge, &document.id, document.generation + 1).await;
    }
    Ok(())
}
