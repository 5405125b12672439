//! From a client's request to an agent that launches the instance.

use std::time::Duration;

use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::{self, Bucket};
use stream_protocol::{
    Client, ClientIce, DesiredState, Launch, Presence, Refusal, RefusalCode, Request, Role,
    SessionDocument, SessionId, Status, Timestamp,
};

use super::ClientSession;
use crate::{owner, placement, session_documents};

/// A session that no agent has claimed by then ends; in seconds.
pub(crate) const CLAIM_S: u64 = 30;

/// How long an agent may take to have AMS accept the launch.
const LAUNCH_DEADLINE: Duration = Duration::from_secs(15);

/// How many agents are asked before the client is told that none took the session.
const MAX_AGENTS_ASKED: usize = 2;

/// Stores a session and has an agent launch its instance; answers before the instance has booted.
///
/// With an `id`, which belongs to one idempotency key, a repeated request returns the session that
/// the first one created. Without, the session gets a random id.
///
/// # Errors
///
/// Refuses when no agent can host the session, and a key that was used for another request or whose
/// session has ended. A session that was refused is ended, unless an agent has claimed it and the
/// client can ask for it again.
pub(crate) async fn place_session(
    bridge: &Bridge,
    id: Option<SessionId>,
    request: Request,
    role: Role,
) -> Result<ClientSession, Refusal> {
    let earlier = match &id {
        Some(id) => bridge.read::<SessionDocument>(Bucket::Sessions, id.as_str()).await?,
        None => None,
    };
    let unclaimed = match earlier {
        None => None,
        Some(entry) => match existing(&entry.value, &request, Timestamp::now())? {
            Existing::Claimed => {
                let ice_servers = owner::ice_servers(bridge, &entry.value.id).await?;
                return Ok(ClientSession { document: entry.value, ice_servers });
            }
            Existing::Unclaimed => Some(entry.revision),
        },
    };
    let mut eligible = placement::eligible(placement::list(bridge).await?, &request)?;
    let can_be_repeated = id.is_some();
    let id = id.unwrap_or_else(SessionId::random);
    let document = store(bridge, new_document(id, request, role), unclaimed).await?;

    let failure = match request_launch(bridge, &document.id, &mut eligible).await {
        Ok(ClientIce { ice_servers }) => return Ok(ClientSession { document, ice_servers }),
        Err(error) => error.refusal(),
    };
    let (id, cause) = (&document.id, &failure.message);
    let given_up = match can_be_repeated {
        true => session_documents::end_unclaimed(bridge, id, Status::Error, cause).await,
        // Nobody else knows the id: what an agent may have begun would run for nobody.
        false => session_documents::end(bridge, id, Status::Error, cause).await,
    };
    if let Err(error) = given_up {
        // Its deadline ends it.
        log::warn!(session:% = id, error:%; "a session that failed could not be ended");
    }
    Err(failure)
}

fn new_document(id: SessionId, request: Request, role: Role) -> SessionDocument {
    let now = Timestamp::now();
    let mut document = SessionDocument::new(id, request, now, now.plus_secs(CLAIM_S));
    document.desired.client = Some(Client { screen: document.request.screen, role });
    document
}

/// Stores `document`, over the revision `unclaimed` if given, and returns it.
async fn store(
    bridge: &Bridge,
    document: SessionDocument,
    unclaimed: Option<u64>,
) -> Result<SessionDocument, Refusal> {
    let (bucket, key) = (Bucket::Sessions, document.id.as_str());
    let stored = match unclaimed {
        None => bridge.create(bucket, key, &document).await,
        Some(revision) => bridge.update(bucket, key, &document, revision).await,
    };
    match stored {
        Ok(_) => Ok(document),
        Err(BridgeError::Conflict) => {
            Err(Refusal::new(RefusalCode::Busy, "the session is just being created"))
        }
        Err(error) => Err(error.into()),
    }
}

/// The session of an earlier request with the same key.
#[derive(Debug, PartialEq)]
enum Existing {
    /// An agent owns the session.
    Claimed,
    /// No agent has claimed the session, and none will.
    Unclaimed,
}

fn existing(
    document: &SessionDocument,
    request: &Request,
    now: Timestamp,
) -> Result<Existing, Refusal> {
    if document.request != *request {
        let sentence = "the Idempotency-Key was used for another request";
        return Err(Refusal::new(RefusalCode::Conflict, sentence));
    }
    let ending = document.status.is_final() || document.desired.state == DesiredState::Terminated;
    match &document.owner {
        Some(_) if ending || document.status == Status::Terminating => {
            let why = document.last_cause();
            let sentence = format!("the session of this Idempotency-Key has ended: {why}");
            Err(Refusal::new(RefusalCode::Conflict, sentence))
        }
        Some(_) => Ok(Existing::Claimed),
        None if ending || document.deadline.is_none_or(|deadline| deadline < now) => {
            Ok(Existing::Unclaimed)
        }
        None => Err(Refusal::new(RefusalCode::Busy, "the session is just being created")),
    }
}

/// Asks one agent after the other, until one launches the instance of `session`.
async fn request_launch(
    bridge: &Bridge,
    session: &SessionId,
    eligible: &mut Vec<Presence>,
) -> Result<ClientIce, BridgeError> {
    let mut failure = BridgeError::NoResponder;
    for _ in 0..MAX_AGENTS_ASKED {
        let Some((host, placement)) = placement::pick(eligible, placement::random) else { break };
        let launch = Launch { session: session.clone(), placement };
        match bridge.ask(subjects::launch(&host.agent), &launch, LAUNCH_DEADLINE).await {
            Ok(ice) => return Ok(ice),
            Err(error) => {
                log::info!(session:%, agent:% = host.agent, error:%; "agent did not take the session");
                let next = another_may_take(&error);
                failure = error;
                if !next {
                    break;
                }
            }
        }
    }
    Err(failure)
}

/// Whether the agent has certainly begun nothing, and another one may take the session.
fn another_may_take(error: &BridgeError) -> bool {
    match error {
        BridgeError::NoResponder => true,
        BridgeError::Refused(refusal) => {
            matches!(refusal.code, RefusalCode::Busy | RefusalCode::Draining)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(app: &str) -> Request {
        super::super::request::session(format!(r#"{{"app":"{app}"}}"#).as_bytes(), 0).unwrap()
    }

    fn document() -> SessionDocument {
        SessionDocument { request: request("app"), ..SessionDocument::sample() }
    }

    fn claimed() -> SessionDocument {
        SessionDocument { owner: Some("a".parse().unwrap()), ..document() }
    }

    fn code(document: &SessionDocument, app: &str, now: u64) -> RefusalCode {
        existing(document, &request(app), now.into()).unwrap_err().code
    }

    #[test]
    fn a_repeated_request_finds_its_claimed_session() {
        assert_eq!(existing(&claimed(), &request("app"), 999.into()).unwrap(), Existing::Claimed);
    }

    #[test]
    fn a_repeated_request_waits_for_the_first_and_takes_over_when_that_failed() {
        assert_eq!(code(&document(), "app", 110), RefusalCode::Busy);
        assert_eq!(
            existing(&document(), &request("app"), 131.into()).unwrap(),
            Existing::Unclaimed
        );
        let failed = SessionDocument { status: Status::Error, ..document() };
        assert_eq!(existing(&failed, &request("app"), 110.into()).unwrap(), Existing::Unclaimed);
    }

    #[test]
    fn a_key_is_good_for_one_request_and_one_life() {
        assert_eq!(code(&claimed(), "other", 110), RefusalCode::Conflict);
        let ended = SessionDocument { status: Status::Terminated, ..claimed() };
        assert_eq!(code(&ended, "app", 110), RefusalCode::Conflict);
    }

    #[test]
    fn another_agent_is_asked_only_when_the_first_surely_did_not_begin() {
        let refused = |code| BridgeError::Refused(Refusal::new(code, "no"));
        assert!(another_may_take(&BridgeError::NoResponder));
        assert!(another_may_take(&refused(RefusalCode::Draining)));
        assert!(another_may_take(&refused(RefusalCode::Busy)));
        assert!(!another_may_take(&BridgeError::TimedOut));
        assert!(!another_may_take(&refused(RefusalCode::Unavailable)));
        assert!(!another_may_take(&refused(RefusalCode::NotFound)));
    }
}
