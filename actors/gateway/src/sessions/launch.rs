//! From a client's request to a stored session whose instance an agent launches.

use std::time::Duration;

use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::Bucket;
use stream_protocol::{
    Client, ClientIce, DesiredState, Hop, IceTerms, InstanceName, Presence, Refusal, RefusalCode,
    Request, Role, SessionDocument, SessionId, Status, TimelineEntry, Timestamp,
};
use stream_supervisor::{retry_while, spawn_detached};
use tokio::time::Instant;

use super::ClientSession;
use super::request::NewSession;
use super::search::request_launch;
use super::socket_url::SocketUrls;
use crate::auth::Caller;
use crate::response::HttpError;
use crate::state::State;
use crate::{owner, placement, session_documents};

/// A session that no agent has claimed by then ends; in seconds.
pub(crate) const CLAIM_S: u64 = 30;

/// How long the gateway goes on trying to end a session that failed; the deadline of the session
/// does it otherwise, where an agent is there.
const GIVE_UP_FOR: Duration = Duration::from_secs(300);

/// Presences are gone with the server that held them. For so long after a connect, agents that are
/// there may not have announced themselves again.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(5);

/// Whoever asks for a session, as its first client.
pub(crate) struct NewClient {
    pub(crate) role: Role,
    pub(crate) terms: IceTerms,
    /// When the request came.
    pub(crate) begun: Instant,
}

/// Stores a session and has an agent launch its instance; answers before the instance has booted.
///
/// With an `id`, which belongs to one idempotency key, a repeated request returns the session that
/// the first one created, or tries again what was refused for the moment. Without, the session gets
/// a random id.
///
/// # Errors
///
/// Refuses when no agent can host the session, and a key that was used for another request or whose
/// session has ended. A session that was refused is ended, unless an agent has claimed it and the
/// client can ask for it again.
pub(crate) async fn place_session(
    state: &State,
    urls: &SocketUrls<'_>,
    id: Option<SessionId>,
    wanted: NewSession,
    NewClient { role, terms, begun }: NewClient,
) -> Result<ClientSession, HttpError> {
    let bridge = &state.bridge;
    let repeatable = id.is_some();
    let id = id.unwrap_or_else(SessionId::random);
    let mut fresh = new_document(id.clone(), wanted.request.clone(), role, bridge.now());
    fresh.made_by = urls.caller.maker();
    let mut over = None;
    if repeatable && let Some(entry) = read(bridge, &id).await? {
        match existing(&entry.value, &wanted, bridge.now())? {
            Existing::Claimed => {
                check_client(&entry.value, role)?;
                return rejoin(bridge, urls, entry.value, role, terms).await;
            }
            Existing::Void { next } => fresh.instance_name = next,
        }
        over = Some(entry.revision);
    }
    let hosts = hosts(state, &fresh.request).await?;
    // Before anything is stored: nobody could get into a session without it.
    let url = urls.make(&id, fresh.generation, role).await?;
    let placed = async {
        let mut document = store(bridge, fresh, over).await?;
        bridge.tell_timeline(&id, vec![creation(urls.caller, &document, begun)]);
        let (ClientIce { ice_servers }, region) = request_launch(bridge, &id, terms, hosts).await?;
        // As its agent has noted it meanwhile.
        document.launch_region = region;
        Ok::<_, BridgeError>((document, ice_servers))
    };
    match placed.await {
        Ok((document, ice_servers)) => Ok(ClientSession { document, ice_servers, url }),
        // The document is another request's.
        Err(BridgeError::Conflict) => {
            Err(Refusal::new(RefusalCode::Busy, "the session is just being created").into())
        }
        Err(error) => {
            let failure = error.refusal();
            let end = TimelineEntry::new(Hop::End, failure.message.clone());
            bridge.tell_timeline(&id, vec![TimelineEntry { failed: true, ..end }]);
            give_up(bridge, id, repeatable, failure.message.clone()).await;
            Err(failure.into())
        }
    }
}

/// What the timeline of a new session begins with.
fn creation(caller: &Caller, document: &SessionDocument, begun: Instant) -> TimelineEntry {
    let app = &document.request.app;
    let region = match document.request.region.as_str() {
        "" => String::new(),
        region => format!(" in region {region}"),
    };
    let entry = TimelineEntry::new(Hop::Create, format!("{caller} asks for {app}{region}"));
    let took_ms = u64::try_from(begun.elapsed().as_millis()).ok();
    TimelineEntry { took_ms, until: caller.token_end(), ..entry }
}

fn new_document(id: SessionId, request: Request, role: Role, now: Timestamp) -> SessionDocument {
    let mut document = SessionDocument::new(id, request, now, now.plus_secs(CLAIM_S));
    document.desired.client = Some(Client { screen: document.request.screen, role });
    document
}

async fn read(
    bridge: &Bridge,
    id: &SessionId,
) -> Result<Option<stream_bridge::Entry<SessionDocument>>, Refusal> {
    Ok(bridge.read(Bucket::Sessions, id.as_str()).await?)
}

/// Refuses a repeated creation when the client is not the one that the first was to make: whoever
/// repeats it would get a socket of somebody else, or in a role that was not given to it.
fn check_client(document: &SessionDocument, role: Role) -> Result<(), Refusal> {
    let refused = |sentence| Err(Refusal::new(RefusalCode::Conflict, sentence));
    if document.generation != 0 {
        return refused("the session of this Idempotency-Key was joined since: join it");
    }
    match document.desired.client {
        Some(client) if client.role != role => {
            refused("the session of this Idempotency-Key was created for another role")
        }
        _ => Ok(()),
    }
}

/// Returns the session that the first request with its key created.
async fn rejoin(
    bridge: &Bridge,
    urls: &SocketUrls<'_>,
    document: SessionDocument,
    role: Role,
    terms: IceTerms,
) -> Result<ClientSession, HttpError> {
    let url = urls.make(&document.id, document.generation, role).await?;
    let ice_servers = owner::ice_servers(bridge, &document.id, terms).await?;
    Ok(ClientSession { document, ice_servers, url })
}

/// Returns the agents that could host `request` now.
async fn hosts(state: &State, request: &Request) -> Result<Vec<Presence>, Refusal> {
    let bridge = &state.bridge;
    let present = state.present_agents.list(bridge).await?;
    let catalogues = state.catalogues.of(bridge, &present).await;
    let connected = bridge.continuity(Bucket::Agents).await?.connected_for();
    placement::eligible(present, &catalogues, request, connected >= ANNOUNCED_WITHIN)
}

/// Stores `document`, over revision `over` if given, and returns it.
async fn store(
    bridge: &Bridge,
    document: SessionDocument,
    over: Option<u64>,
) -> Result<SessionDocument, BridgeError> {
    let (bucket, key) = (Bucket::Sessions, document.id.as_str());
    match over {
        None => bridge.create(bucket, key, &document).await?,
        Some(revision) => bridge.update(bucket, key, &document, revision).await?,
    };
    Ok(document)
}

/// Ends a session that its client was refused, also one that may not even be stored: no answer of
/// the store says that. Goes on in the background while NATS does not take it.
async fn give_up(bridge: &Bridge, id: SessionId, repeatable: bool, cause: String) {
    let (bridge, session) = (bridge.clone(), id.clone());
    let end = async move || match repeatable {
        true => session_documents::end_unclaimed(&bridge, &id, Status::Error, &cause).await,
        // Nobody else knows the id: what an agent may have begun would run for nobody.
        false => session_documents::discard(&bridge, &id, &cause).await,
    };
    let passes = |refusal: &Refusal| refusal.code.is_transient();
    if let Err(error) = end().await
        && passes(&error)
    {
        log::warn!(session:%, error:%; "a session that failed could not be ended yet");
        spawn_detached("giving a session up", async move {
            if let Err(error) = retry_while(GIVE_UP_FOR, passes, end).await {
                log::warn!(session:%, error:%; "a session that failed is left to its deadline");
            }
        });
    }
}

/// The session of an earlier request with the same key.
#[derive(Debug, PartialEq)]
enum Existing {
    /// An agent owns the session.
    Claimed,
    /// The session has no instance, and none will come of it: it may begin again, with `next` as
    /// the name of its launch if there was one.
    Void { next: Option<InstanceName> },
}

fn existing(
    document: &SessionDocument,
    wanted: &NewSession,
    now: Timestamp,
) -> Result<Existing, Refusal> {
    // How long to wait for clients is our configuration, which may be another by now.
    let mut request = wanted.request.clone();
    request.first_client_s = document.request.first_client_s;
    if wanted.has_default_idle {
        request.idle_time_min = document.request.idle_time_min;
    }
    if document.request != request {
        let sentence = "the Idempotency-Key was used for another request";
        return Err(Refusal::new(RefusalCode::Conflict, sentence));
    }
    let next = || document.instance_name.as_ref().map(|name| name.next(&document.id));
    let ending = document.status.is_final() || document.desired.state == DesiredState::Terminated;
    match &document.owner {
        // Whoever was refused was told to come back.
        Some(_) if document.never_launched() && document.status == Status::Error => {
            Ok(Existing::Void { next: next() })
        }
        Some(_) if document.never_launched() && !document.status.is_final() => {
            Err(Refusal::new(RefusalCode::Busy, "the launch before is just being given up"))
        }
        Some(_) if ending || document.status == Status::Terminating => {
            let why = document.last_cause();
            let sentence = format!("the session of this Idempotency-Key has ended: {why}");
            Err(Refusal::new(RefusalCode::Conflict, sentence))
        }
        Some(_) => Ok(Existing::Claimed),
        None if ending || document.deadline.is_none_or(|deadline| deadline < now) => {
            Ok(Existing::Void { next: document.instance_name.clone() })
        }
        None => Err(Refusal::new(RefusalCode::Busy, "the session is just being created")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(app: &str) -> NewSession {
        NewSession { request: Request::for_app(app), has_default_idle: true }
    }

    fn document() -> SessionDocument {
        SessionDocument { request: Request::for_app("app"), ..SessionDocument::sample() }
    }

    fn claimed() -> SessionDocument {
        let instance_name = Some(InstanceName::of(&document().id, 1));
        SessionDocument { owner: Some("a".parse().unwrap()), instance_name, ..document() }
    }

    fn code(document: &SessionDocument, app: &str, now: u64) -> RefusalCode {
        existing(document, &wanted(app), now.into()).unwrap_err().code
    }

    fn found(document: &SessionDocument, now: u64) -> Existing {
        existing(document, &wanted("app"), now.into()).unwrap()
    }

    #[test]
    fn a_repeated_request_finds_its_claimed_session() {
        assert_eq!(found(&claimed(), 999), Existing::Claimed);
        let mut other_configuration = claimed();
        other_configuration.request.first_client_s = 300;
        other_configuration.request.idle_time_min = 77;
        assert_eq!(found(&other_configuration, 999), Existing::Claimed);
        let named = NewSession { has_default_idle: false, ..wanted("app") };
        assert!(existing(&other_configuration, &named, 999.into()).is_err(), "it named another");
    }

    #[test]
    fn a_repeated_request_waits_for_the_first_and_takes_over_when_that_failed() {
        assert_eq!(code(&document(), "app", 110), RefusalCode::Busy);
        let void = Existing::Void { next: None };
        assert_eq!(found(&document(), 131), void);
        let failed = SessionDocument { status: Status::Error, ..document() };
        assert_eq!(found(&failed, 110), void);
    }

    #[test]
    fn a_key_is_good_for_one_request_and_one_life() {
        assert_eq!(code(&claimed(), "other", 110), RefusalCode::Conflict);
        let ended = SessionDocument { status: Status::Terminated, ..claimed() };
        assert_eq!(code(&ended, "app", 110), RefusalCode::Conflict);
        let failed = SessionDocument { status: Status::Error, ..claimed() };
        assert_eq!(code(&failed, "app", 110), RefusalCode::Conflict, "for good");
    }

    #[test]
    fn a_key_whose_launch_was_refused_for_the_moment_launches_again_under_another_name() {
        let refused = SessionDocument { launch_refused: true, ..claimed() };
        let ending = SessionDocument { status: Status::Terminating, ..refused.clone() };
        assert_eq!(code(&ending, "app", 110), RefusalCode::Busy);
        let ended = SessionDocument { status: Status::Error, ..refused };
        let second = InstanceName::of(&ended.id, 2);
        assert_eq!(found(&ended, 110), Existing::Void { next: Some(second.clone()) });

        let again =
            SessionDocument { owner: None, instance_name: Some(second.clone()), ..ended.clone() };
        let unclaimed = Existing::Void { next: Some(second) };
        assert_eq!(found(&again, 110), unclaimed, "no agent has used the name");

        let ran = SessionDocument { running_since: 105.into(), ..ended.clone() };
        assert_eq!(code(&ran, "app", 110), RefusalCode::Conflict, "its instance has run");
        let late = SessionDocument { instance_id: Some("i".to_owned()), ..ended };
        assert_eq!(code(&late, "app", 110), RefusalCode::Conflict, "it had an instance");
    }

    #[test]
    fn a_creation_is_repeated_only_for_the_client_that_it_made() {
        let mut document = claimed();
        document.desired.client = Some(Client { screen: Default::default(), role: Role::View });
        assert!(check_client(&document, Role::View).is_ok());
        assert!(check_client(&document, Role::Control).is_err(), "another role");
        document.generation = 1;
        assert!(check_client(&document, Role::View).is_err(), "another has joined since");
    }
}
