//! Connecting to the ADB of a session's instance, in place of whoever did so through the same
//! share.

use std::cell::Cell;

use stream_bridge::Bridge;
use stream_protocol::{IceTerms, Refusal, RefusalCode, Role, SessionDocument, SessionId};

use super::ClientSession;
use super::client_slot::{self, JoinError};
use super::socket_url::SocketUrls;
use crate::adb_connections::is_missing;
use crate::response::HttpError;
use crate::share_record::Share;
use crate::{owner, session_documents};

/// How often a connection is tried to be made while others are made before it.
const MAX_ATTEMPTS: usize = 16;

/// Begins the next connection through `share`, and returns what whoever came needs for it, ICE
/// servers on `terms`. The one before ends.
///
/// # Errors
///
/// Refuses a session that is not active, and an instance that does not serve ADB. A refusal changes
/// nothing.
pub(crate) async fn connect(
    bridge: &Bridge,
    urls: &SocketUrls<'_>,
    id: &SessionId,
    share: &Share,
    terms: IceTerms,
) -> Result<(u64, ClientSession), HttpError> {
    let mut found = session_documents::read(bridge, id).await?.value;
    judge(&found)?;
    let ice_servers = owner::ice_servers(bridge, id, terms).await?;
    for _ in 0..MAX_ATTEMPTS {
        let generation = found.adb.made + 1;
        let url = urls.make(id, generation, Role::Adb).await?;
        if let Some(document) = enter(bridge, id, generation, share).await? {
            return Ok((generation, ClientSession { document, ice_servers, url }));
        }
        found = session_documents::read(bridge, id).await?.value;
    }
    Err(Refusal::new(RefusalCode::Busy, "too many connections to adb at once").into())
}

/// Whether ADB may be connected now.
fn judge(document: &SessionDocument) -> Result<(), JoinError> {
    client_slot::check_active(document)?;
    if is_missing(document) { Err(JoinError::NoAdb) } else { Ok(()) }
}

/// Makes the connection of `generation` the present one of `share`. Returns `None` when another one
/// was made since the generation before was read.
async fn enter(
    bridge: &Bridge,
    id: &SessionId,
    generation: u64,
    share: &Share,
) -> Result<Option<SessionDocument>, JoinError> {
    let entered = Cell::new(false);
    let edit = |document: &mut SessionDocument| {
        judge(document)?;
        entered.set(document.adb.made + 1 == generation);
        if entered.get() {
            document.adb.connect(&share.id, share.expiry_at, bridge.now());
        }
        Ok::<_, JoinError>(())
    };
    let document = bridge.change_session(id, edit).await?.value;
    Ok(entered.get().then_some(document))
}

#[cfg(test)]
mod tests {
    use stream_protocol::{Capability, DesiredState, Status};

    use super::*;

    fn active(capabilities: &[Capability]) -> SessionDocument {
        let capabilities = capabilities.iter().copied().collect();
        SessionDocument { status: Status::Active, capabilities, ..SessionDocument::sample() }
    }

    #[test]
    fn adb_is_connected_while_the_session_is_active_and_its_instance_serves_it() {
        assert_eq!(judge(&active(&[Capability::Adb])), Ok(()), "joinable or not");
        assert_eq!(judge(&active(&[Capability::Roles])), Err(JoinError::NoAdb));
        let created = SessionDocument::sample();
        assert!(!is_missing(&created), "nobody knows yet");
        let mut ending = active(&[Capability::Adb]);
        ending.desired.state = DesiredState::Terminated;
        for document in [created, ending] {
            assert!(matches!(judge(&document), Err(JoinError::Refused(_))), "{document:?}");
        }
    }
}
