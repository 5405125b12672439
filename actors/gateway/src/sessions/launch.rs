//! From a request to an agent that launches it.

use std::time::Duration;

use stream_bridge::{Bridge, BridgeError, Entry};
use stream_protocol::subjects::{self, Bucket};
use stream_protocol::{
    Ask, Client, ClientIce, Code, DesiredState, IceServer, Launch, Presence, Refusal, Request,
    Role, SessionDocument, SessionId, Status,
};

use super::OWNER_DEADLINE;
use crate::response::HttpError;
use crate::{clock, placement, session_documents};

/// A session that no agent has claimed by then ends; in seconds.
pub(crate) const CLAIM_S: u64 = 30;

/// How long an agent may take to have AMS accept the launch.
const LAUNCH_DEADLINE: Duration = Duration::from_secs(15);

/// How many agents are asked before the client is.
const MAX_AGENTS_ASKED: usize = 2;

type Created = Result<(SessionDocument, Vec<IceServer>), HttpError>;

/// Opens a session that never was.
pub(crate) async fn create(bridge: &Bridge, request: Request, role: Role) -> Created {
    let created = place(bridge, SessionId::random(), request, role, None).await;
    // Nobody knows the id but us: what an agent may have begun would run for nobody.
    if let Err(Failed { stored: Some(id), refused }) = created {
        if let Err(error) =
            session_documents::end(bridge, &id, Status::Error, &refused.to_string()).await
        {
            log::warn!("session {id} could not be given up: {error}");
        }
        return Err(refused);
    }
    created.map_err(|failed| failed.refused)
}

/// Opens the session `id`, unless an earlier request with the same key has: then it returns that
/// one. Refuses a key that was used for another request, or whose session has ended.
pub(crate) async fn create_idempotent(
    bridge: &Bridge,
    id: SessionId,
    request: Request,
    role: Role,
) -> Created {
    let earlier = bridge.read::<SessionDocument>(Bucket::Sessions, id.as_str()).await?;
    let unclaimed = match earlier {
        None => None,
        Some(entry) => match existing(&entry.value, &request, clock::now())? {
            Existing::Claimed => return resume(bridge, entry.value).await,
            Existing::Unclaimed => Some(entry.revision),
        },
    };
    let created = place(bridge, id, request, role, unclaimed).await;
    created.map_err(|failed| failed.refused)
}

/// What there is of the session when a request is repeated.
#[derive(Debug, PartialEq)]
enum Existing {
    /// An agent has it.
    Claimed,
    /// No agent ever had it, and none will.
    Unclaimed,
}

fn existing(document: &SessionDocument, request: &Request, now: u64) -> Result<Existing, Refusal> {
    if document.request != *request {
        let sentence = "the Idempotency-Key was used for another request";
        return Err(Refusal::new(Code::Conflict, sentence));
    }
    let ending = document.status.is_final() || document.desired.state == DesiredState::Terminated;
    match &document.owner {
        Some(_) if ending || document.status == Status::Terminating => {
            let why = document.message();
            let sentence = format!("the session of this Idempotency-Key has ended: {why}");
            Err(Refusal::new(Code::Conflict, sentence))
        }
        Some(_) => Ok(Existing::Claimed),
        None if ending || document.deadline.is_none_or(|deadline| deadline < now) => {
            Ok(Existing::Unclaimed)
        }
        None => Err(Refusal::new(Code::Busy, "the session is just being created")),
    }
}

async fn resume(bridge: &Bridge, document: SessionDocument) -> Created {
    let ice: ClientIce = bridge.ask(subjects::ice(&document.id), &Ask {}, OWNER_DEADLINE).await?;
    Ok((document, ice.ice_servers))
}

/// A session that was not created; with its id when there is a document of it.
struct Failed {
    stored: Option<SessionId>,
    refused: HttpError,
}

impl<E: Into<HttpError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self { stored: None, refused: error.into() }
    }
}

/// Stores the session, over `unclaimed` if given, and asks agents until one launches it.
async fn place(
    bridge: &Bridge,
    id: SessionId,
    request: Request,
    role: Role,
    unclaimed: Option<u64>,
) -> Result<(SessionDocument, Vec<IceServer>), Failed> {
    let mut eligible = placement::eligible(placement::list(bridge).await?, &request)?;
    let now = clock::now();
    let mut document = SessionDocument::new(id, request, now, now + CLAIM_S);
    document.desired.client = Some(Client { screen: document.request.screen, role });
    let (bucket, key) = (Bucket::Sessions, document.id.as_str());
    let stored = match unclaimed {
        None => bridge.create(bucket, key, &document).await,
        Some(revision) => bridge.update(bucket, key, &document, revision).await,
    };
    match stored {
        Ok(_) => {}
        Err(BridgeError::Conflict) => {
            return Err(Refusal::new(Code::Busy, "the session is just being created").into());
        }
        Err(error) => return Err(error.into()),
    }

    match request_launch(bridge, &document.id, &mut eligible).await {
        Ok(ice) => Ok((document, ice.ice_servers)),
        Err(error) => {
            let refusal = error.refusal();
            give_up_unclaimed(bridge, &document.id, &refusal.message).await;
            Err(Failed { stored: Some(document.id), refused: refusal.into() })
        }
    }
}

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
                log::info!("agent {} did not take session {session}: {error}", host.agent);
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

/// Whether it is certain that the agent did not begin, and likely that another would.
fn another_may_take(error: &BridgeError) -> bool {
    match error {
        BridgeError::NoResponder => true,
        BridgeError::Refused(refusal) => matches!(refusal.code, Code::Busy | Code::Draining),
        _ => false,
    }
}

/// Ends the session if no agent has claimed it, so that nobody does later.
async fn give_up_unclaimed(bridge: &Bridge, id: &SessionId, cause: &str) {
    let entry: Result<Entry<_>, _> = session_documents::read(bridge, id).await;
    if entry.is_ok_and(|entry| entry.value.owner.is_some()) {
        return;
    }
    if let Err(error) = session_documents::end(bridge, id, Status::Error, cause).await {
        // Its deadline ends it.
        log::warn!("session {id} could not be given up: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(app: &str) -> Request {
        super::super::request::session(format!(r#"{{"app":"{app}"}}"#).as_bytes()).unwrap()
    }

    fn document() -> SessionDocument {
        SessionDocument::new(SessionId::random(), request("app"), 100, 130)
    }

    fn claimed() -> SessionDocument {
        SessionDocument { owner: Some("a".parse().unwrap()), ..document() }
    }

    fn code(document: &SessionDocument, app: &str, now: u64) -> Code {
        existing(document, &request(app), now).unwrap_err().code
    }

    #[test]
    fn a_repeated_request_finds_its_claimed_session() {
        assert_eq!(existing(&claimed(), &request("app"), 999).unwrap(), Existing::Claimed);
    }

    #[test]
    fn a_repeated_request_waits_for_the_first_and_takes_over_when_that_failed() {
        assert_eq!(code(&document(), "app", 110), Code::Busy);
        assert_eq!(existing(&document(), &request("app"), 131).unwrap(), Existing::Unclaimed);
        let failed = SessionDocument { status: Status::Error, ..document() };
        assert_eq!(existing(&failed, &request("app"), 110).unwrap(), Existing::Unclaimed);
    }

    #[test]
    fn a_key_is_good_for_one_request_and_one_life() {
        assert_eq!(code(&claimed(), "other", 110), Code::Conflict);
        let ended = SessionDocument { status: Status::Terminated, ..claimed() };
        assert_eq!(code(&ended, "app", 110), Code::Conflict);
    }

    #[test]
    fn another_agent_is_asked_only_when_the_first_surely_did_not_begin() {
        let refused = |code| BridgeError::Refused(Refusal::new(code, "no"));
        assert!(another_may_take(&BridgeError::NoResponder));
        assert!(another_may_take(&refused(Code::Draining)));
        assert!(another_may_take(&refused(Code::Busy)));
        assert!(!another_may_take(&BridgeError::TimedOut));
        assert!(!another_may_take(&refused(Code::Unavailable)));
        assert!(!another_may_take(&refused(Code::NotFound)));
    }
}
