//! Session documents, as gateways read and change them.

use std::time::Duration;

use stream_bridge::{Bridge, BridgeError, Entry};
use stream_protocol::subjects::Bucket;
use stream_protocol::{
    DesiredState, Refusal, RefusalCode, SessionDocument, SessionId, Status, Timestamp,
};
use stream_tokens::{Revocation, Tokens};

use crate::error::tokens_refusal;
use crate::session_summary::is_kept_by_us;
use crate::views::Views;

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

/// Orders the end of a session in its document. A session that no agent has claimed ends at once:
/// there is nothing to clean up. The document of a session that has ended and is
/// [listed](SessionDocument::is_listed) is removed, and what its tokens opened may be opened by
/// those of another session with its id. One whose instance its owner keeps is its owner's to end.
///
/// # Errors
///
/// Refuses a session that does not exist.
pub(crate) async fn end(
    bridge: &Bridge,
    tokens: &Tokens,
    id: &SessionId,
    cause: &str,
) -> Result<SessionDocument, Refusal> {
    let Entry { value: document, revision } = read(bridge, id).await?;
    if document.status.is_final() && !is_kept_by_us(&document) {
        let is_told = document.is_listed() || document.kept_instance.is_some();
        if is_told && !document.instance_left_behind {
            unrevoke(tokens, id).await;
            // Another session may have begun with its id since.
            match bridge.remove_revision(Bucket::Sessions, id.as_str(), revision).await {
                Ok(()) | Err(BridgeError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        return Ok(document);
    }
    change(bridge, id, |document| {
        request_termination(document, Status::Terminated, cause, bridge.now());
        Ok(())
    })
    .await
}

/// Removes a session that nobody knows of, or orders its end if an agent has claimed it. One that
/// does not exist is fine.
pub(crate) async fn discard(bridge: &Bridge, id: &SessionId, cause: &str) -> Result<(), Refusal> {
    let (bucket, key) = (Bucket::Sessions, id.as_str());
    let entry = bridge.read::<SessionDocument>(bucket, key).await?;
    let Some(Entry { value: document, revision }) = entry else { return Ok(()) };
    if document.owner.is_none() {
        match bridge.remove_revision(bucket, key, revision).await {
            // An agent may just have claimed it.
            Err(BridgeError::Conflict) => {}
            removed => return Ok(removed?),
        }
    }
    let ordered = bridge.change_session(id, |document| {
        request_termination(document, Status::Error, cause, bridge.now());
        Ok::<_, BridgeError>(())
    });
    match ordered.await {
        Ok(_) | Err(BridgeError::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
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
) -> Result<(), Refusal> {
    change(bridge, id, |document| {
        if document.owner.is_none() {
            request_termination(document, status, cause, bridge.now());
        }
        Ok(())
    })
    .await
    .map(drop)
}

/// Ends a session in place of its owner, which is away: nobody can say what became of the instance.
/// An agent that looks for it later finds the mark in the document.
///
/// # Errors
///
/// Refuses a session that does not exist.
pub(crate) async fn force_end(
    bridge: &Bridge,
    id: &SessionId,
    cause: &str,
) -> Result<SessionDocument, Refusal> {
    change(bridge, id, |document| {
        force_termination(document, cause, bridge.now());
        Ok(())
    })
    .await
}

/// Removes the record of a session if this version cannot read it, and revokes the tokens of the
/// session. Returns whether that was so. Agents delete its instance as one that no session is known
/// of.
pub(crate) async fn remove_unreadable(
    bridge: &Bridge,
    tokens: &Tokens,
    id: &SessionId,
) -> Result<bool, Refusal> {
    let (bucket, key) = (Bucket::Sessions, id.as_str());
    // Before it is read: what is repaired meanwhile stays.
    let Some(revision) = bridge.revision(bucket, key).await? else { return Ok(false) };
    let Err(BridgeError::Malformed(cause)) = bridge.read::<SessionDocument>(bucket, key).await
    else {
        return Ok(false);
    };
    tokens.session_ended(id, false).await.map_err(tokens_refusal)?;
    bridge.remove_revision(bucket, key, revision).await?;
    log::warn!(session:% = id, cause:%; "a record that cannot be read is deleted");
    Ok(true)
}

/// Takes the revocation of a session that has ended back, so that a session with the same id can
/// begin. Before its document goes: whoever removed it would have nobody to repeat this.
async fn unrevoke(tokens: &Tokens, id: &SessionId) {
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
    if document.status.is_final() && !is_kept_by_us(document) {
        return;
    }
    document.desired.state = DesiredState::Terminated;
    if document.owner.is_none() {
        document.status = unclaimed;
        document.deadline = None;
        document.push_cause(now, cause);
    }
}

/// Writes the end of a session that somebody wants and nobody carries out.
fn force_termination(document: &mut SessionDocument, cause: &str, now: Timestamp) {
    if document.status.is_final() && !is_kept_by_us(document) {
        return;
    }
    document.desired.state = DesiredState::Terminated;
    document.kept_instance = None;
    document.instance_left_behind =
        document.instance_id.is_some() || document.instance_name.is_some();
    document.status = if document.failed { Status::Error } else { Status::Terminated };
    document.deadline = None;
    document.push_cause(now, format!("{cause}: forced, the agent was away"));
}

/// Waits up to `timeout` for the end of a session; returns whether it has ended. A session that
/// does not exist has.
pub(crate) async fn wait_for_end(
    views: &Views,
    id: &SessionId,
    timeout: Duration,
) -> Result<bool, Refusal> {
    let mut watch = views.watch_session(id).await?;
    let end = async { while watch.next().await.is_some_and(|session| !session.has_ended) {} };
    Ok(tokio::time::timeout(timeout, end).await.is_ok())
}

pub(crate) fn not_found() -> Refusal {
    Refusal::new(RefusalCode::NotFound, "session not found")
}

#[cfg(test)]
mod tests {
    use stream_protocol::{KeptInstance, Origin};

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
    fn a_forced_end_remembers_what_may_still_run() {
        let instance_name = Some(stream_protocol::InstanceName::of(&document().id, 1));
        let owner = Some("a".parse().unwrap());
        let mut claimed =
            SessionDocument { owner, instance_name, deadline: Some(9.into()), ..document() };
        let mut failed = SessionDocument { failed: true, ..claimed.clone() };
        force_termination(&mut claimed, "deleted by account anna", 7.into());
        assert_eq!((claimed.status, claimed.deadline), (Status::Terminated, None));
        assert_eq!(claimed.desired.state, DesiredState::Terminated);
        assert!(claimed.instance_left_behind);
        let cause = "deleted by account anna: forced, the agent was away";
        assert_eq!(claimed.last_cause(), cause);

        force_termination(&mut failed, "deleted", 7.into());
        assert_eq!(failed.status, Status::Error);
        let mut bare = document();
        force_termination(&mut bare, "deleted", 7.into());
        assert!(!bare.instance_left_behind, "there was no launch");

        let mut ended = SessionDocument { status: Status::Terminated, ..document() };
        let before = ended.clone();
        force_termination(&mut ended, "deleted", 7.into());
        assert_eq!(ended, before);
    }

    #[test]
    fn a_session_that_has_ended_is_ended_on_request_while_its_instance_is_kept() {
        let (status, owner) = (Status::Error, "a".parse().ok());
        let kept_instance =
            Some(KeptInstance { since: 5.into(), restart_until: None, delete_at: None });
        let instance_id = Some("i".to_owned());
        let kept = SessionDocument { status, owner, kept_instance, instance_id, ..document() };
        let mut ordered = kept.clone();
        request_termination(&mut ordered, Status::Terminated, "deleted", 7.into());
        let expected = (DesiredState::Terminated, Status::Error);
        assert_eq!((ordered.desired.state, ordered.status), expected, "its owner ends it");
        force_termination(&mut ordered, "deleted", 7.into());
        assert!(ordered.is_over() && ordered.instance_left_behind);

        let of_ams = SessionDocument { origin: Origin::Ams, ..kept };
        let mut asked = of_ams.clone();
        request_termination(&mut asked, Status::Terminated, "deleted", 7.into());
        force_termination(&mut asked, "deleted", 7.into());
        assert_eq!(asked, of_ams, "its instance is nobody's to delete");
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
