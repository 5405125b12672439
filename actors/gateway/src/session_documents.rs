//! Session documents, as gateways read and change them.

use std::time::Duration;

use stream_bridge::{Bridge, BridgeError, Entry};
use stream_protocol::subjects::Bucket;
use stream_protocol::{
    DesiredState, Refusal, RefusalCode, SessionDocument, SessionId, Status, Timestamp,
};
use stream_tokens::{Revocation, Tokens};

use crate::document_watch::DocumentWatch;

/// Returns the document of a session and its revision.
///
/// # Errors
///
/// Refuses a session that does not exist.
pub(crate) async fn read(
    bridge: &Bridge,
    id: &SessionId,
) -> Result<Entry<SessionDocument>, Refusal> {
    let entry = bridge.read(Bucket::Sessions, id.as_str()).await?;
    entry.ok_or_else(not_found)
}

/// Returns the documents of all sessions, in no order.
pub(crate) async fn list(bridge: &Bridge) -> Result<Vec<SessionDocument>, Refusal> {
    let entries = bridge.list::<SessionDocument>(Bucket::Sessions).await?;
    Ok(entries.into_iter().map(|(_, entry)| entry.value).collect())
}

/// Changes a document by `edit` and returns what is stored. `edit` sees the latest version; it runs
/// again when somebody else was faster.
///
/// # Errors
///
/// Refuses a session that does not exist, and with what `edit` refuses.
pub(crate) async fn change(
    bridge: &Bridge,
    id: &SessionId,
    edit: impl Fn(&mut SessionDocument) -> Result<(), Refusal>,
) -> Result<SessionDocument, Refusal> {
    let edit = |document: &mut SessionDocument| edit(document).map_err(BridgeError::Refused);
    match bridge.change_session(id, edit).await {
        Ok(entry) => Ok(entry.value),
        Err(BridgeError::NotFound) => Err(not_found()),
        Err(error) => Err(error.into()),
    }
}

/// Orders the end of a session in its document. A session that no agent has claimed ends at once,
/// with status `unclaimed`: there is nothing to clean up. The document of a session that is
/// [kept](SessionDocument::outlives_its_end) after its end is removed.
///
/// # Errors
///
/// Refuses a session that does not exist.
pub(crate) async fn end(
    bridge: &Bridge,
    id: &SessionId,
    unclaimed: Status,
    cause: &str,
) -> Result<SessionDocument, Refusal> {
    let document = read(bridge, id).await?.value;
    if document.status.is_final() && document.outlives_its_end() {
        bridge.remove(Bucket::Sessions, id.as_str()).await?;
        return Ok(document);
    }
    change(bridge, id, |document| {
        request_termination(document, unclaimed, cause, Timestamp::now());
        Ok(())
    })
    .await
}

/// Ends a session with `status` if no agent has claimed it, so that none does later.
///
/// # Errors
///
/// Refuses a session that does not exist.
pub(crate) async fn end_unclaimed(
    bridge: &Bridge,
    id: &SessionId,
    status: Status,
    cause: &str,
) -> Result<SessionDocument, Refusal> {
    change(bridge, id, |document| {
        if document.owner.is_none() {
            request_termination(document, status, cause, Timestamp::now());
        }
        Ok(())
    })
    .await
}

/// Takes the revocation of a kept session back once its document is gone, so that a session with
/// the same id can begin. Does nothing for other sessions.
pub(crate) async fn unrevoke_kept(tokens: &Tokens, document: &SessionDocument) {
    if !(document.status.is_final() && document.outlives_its_end()) {
        return;
    }
    let id = &document.id;
    if let Err(error) = tokens.unrevoke(Revocation::Session(id.clone())).await {
        log::warn!(session:% = id, error:%; "the tokens of a session stay revoked, also for another with its id");
    }
}

/// Orders the end in `document`; without an owner, nobody would carry it out, and the end is now.
fn request_termination(
    document: &mut SessionDocument,
    unclaimed: Status,
    cause: &str,
    now: Timestamp,
) {
    if document.status.is_final() {
        return;
    }
    document.desired.state = DesiredState::Terminated;
    if document.owner.is_none() {
        document.status = unclaimed;
        document.deadline = None;
        document.push_cause(now, cause);
    }
}

/// Waits up to `timeout` for the end of a session; returns whether it has ended. A session that
/// does not exist has.
pub(crate) async fn wait_for_end(
    bridge: &Bridge,
    id: &SessionId,
    timeout: Duration,
) -> Result<bool, Refusal> {
    let mut watch = DocumentWatch::start(bridge, id).await?;
    let end = async {
        while !has_ended(bridge, id).await? {
            watch.next(false).await;
        }
        Ok::<_, Refusal>(())
    };
    tokio::time::timeout(timeout, end).await.map_or(Ok(false), |ended| ended.map(|()| true))
}

async fn has_ended(bridge: &Bridge, id: &SessionId) -> Result<bool, Refusal> {
    let entry = bridge.read::<SessionDocument>(Bucket::Sessions, id.as_str()).await?;
    Ok(entry.is_none_or(|entry| entry.value.status.is_final()))
}

fn not_found() -> Refusal {
    Refusal::new(RefusalCode::NotFound, "session not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> SessionDocument {
        SessionDocument::sample()
    }

    #[test]
    fn a_session_that_nobody_claimed_ends_at_once_and_says_why() {
        let mut document = document();
        request_termination(&mut document, Status::Error, "no agent", 7.into());
        assert_eq!((document.status, document.last_cause()), (Status::Error, "no agent"));
        assert_eq!(document.deadline, None);
    }

    #[test]
    fn the_status_of_a_claimed_session_stays_its_owners() {
        let owner = "a".parse().unwrap();
        let mut document = SessionDocument { owner: Some(owner), ..document() };
        request_termination(&mut document, Status::Error, "no agent", 7.into());
        assert_eq!(document.status, Status::Created);
        assert_eq!(document.desired.state, DesiredState::Terminated);

        let ended = SessionDocument { status: Status::Terminated, ..self::document() };
        let mut again = ended.clone();
        request_termination(&mut again, Status::Error, "no agent", 7.into());
        assert_eq!(again, ended, "an end is not ended again");
    }
}
