//! The connections to the ADB of instances, as session documents hold them: one for each share of
//! that kind. The client of the session, and the time without one, have nothing to do with them.

use stream_bridge::{Bridge, BridgeError};
use stream_protocol::{Refusal, SessionDocument, SessionId, ShareId, Status};

use crate::share_record::Share;

/// Whether it is known of the instance that it serves no ADB. Before it runs nobody knows.
pub(crate) fn is_missing(document: &SessionDocument) -> bool {
    document.status == Status::Active && !document.has_adb()
}

/// Ends the connection through `share` at its instance, if there is one; with `only`, unless that
/// is of another generation.
pub(crate) async fn end(
    bridge: &Bridge,
    session: &SessionId,
    share: &ShareId,
    only: Option<u64>,
) -> Result<(), Refusal> {
    change(bridge, session, |document| {
        let present = document.adb.generation(share);
        if only.is_none() || only == present {
            document.adb.end(share);
        }
    })
    .await
}

/// Has the connection through `share` last as long as the share does now.
pub(crate) async fn prolong(bridge: &Bridge, share: &Share) -> Result<(), Refusal> {
    let prolong = |document: &mut SessionDocument| {
        document.adb.prolong(&share.id, share.expiry_at);
    };
    change(bridge, &share.session_id, prolong).await
}

/// Changes a session; one that is gone has no connection.
async fn change(
    bridge: &Bridge,
    session: &SessionId,
    edit: impl Fn(&mut SessionDocument),
) -> Result<(), Refusal> {
    let edit = |document: &mut SessionDocument| {
        edit(document);
        Ok::<_, BridgeError>(())
    };
    match bridge.change_session(session, edit).await {
        Ok(_) | Err(BridgeError::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
