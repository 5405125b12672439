//! Sessions, as clients create, watch, join and end them.

mod idempotency;
mod launch;
pub(crate) mod listing;
mod request;

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::{Data, Path, Payload, Query};
use serde::{Deserialize, Serialize};
use stream_bridge::BridgeError;
use stream_protocol::subjects::{self, Bucket};
use stream_protocol::{
    Ask, Client, ClientIce, Code, DesiredState, IceServer, OnConflict, Op, Refusal,
    SessionDocument, SessionId, Status, Terminate,
};

use crate::auth::{Caller, authorize, authorize_for};
use crate::response::{HandlerResult, HttpError, bad_request, body, created, ok};
use crate::state::State;
use crate::{client_lease, response, session_documents};

pub(crate) use idempotency::{MAX_KEY, id as derived_id};
pub(crate) use launch::CLAIM_S;
use listing::Listing;
use request::ScreenRequest;
pub(crate) use request::{MAX_EXTRA_DATA, MAX_NAME};

/// How long the owner of a session may take to answer.
pub(crate) const OWNER_DEADLINE: Duration = Duration::from_secs(10);

/// How long a deletion with `sync` waits for the end.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// A session as clients see it.
#[derive(Serialize)]
struct SessionView<'a> {
    id: &'a SessionId,
    app: &'a str,
    region: &'a str,
    status: Status,
    status_message: &'a str,
    joinable: bool,
    container_id: &'a str,
    cluster_id: &'a str,
}

impl<'a> SessionView<'a> {
    fn of(document: &'a SessionDocument) -> Self {
        Self {
            id: &document.id,
            app: &document.request.app,
            region: &document.request.region,
            status: document.status,
            status_message: document.message(),
            joinable: document.request.joinable,
            container_id: document.instance_id.as_deref().unwrap_or_default(),
            cluster_id: &document.cluster,
        }
    }
}

#[derive(Serialize)]
struct CreatedSession<'a> {
    id: &'a SessionId,
    region: &'a str,
    status: Status,
    joinable: bool,
    url: String,
    stun_servers: Vec<IceServer>,
}

#[derive(Serialize)]
struct JoinedSession<'a> {
    id: &'a SessionId,
    url: String,
    stun_servers: Vec<IceServer>,
}

/// POST `/1.0/sessions`: has an agent launch an instance, and answers without waiting for its boot.
pub(crate) async fn create(
    request: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> HandlerResult {
    let caller = authorize(&request, &state, Op::SessionCreate, None).await?;
    let (key, base) = (idempotency::key(&request)?, state.socket_base(&request)?);
    let (wanted, role) = (request::session(&body(payload).await?)?, caller.role()?);

    let (document, stun_servers) = match key {
        Some(key) => {
            let id = idempotency::id(&caller.name, &key);
            launch::create_idempotent(&state.bridge, id, wanted, role).await?
        }
        None => launch::create(&state.bridge, wanted, role).await?,
    };
    if document.request.on_conflict == OnConflict::Reject {
        client_lease::reserve(&state.bridge, &document.id, document.generation).await;
    }
    let url = state.socket_url(&base, &document, &caller).await?;
    log::info!("session {} created by {caller}", document.id);
    Ok(created(CreatedSession {
        id: &document.id,
        region: &document.request.region,
        status: document.status,
        joinable: document.request.joinable,
        url,
        stun_servers,
    }))
}

/// GET `/1.0/sessions`: ids, or with `recursion` whole sessions.
pub(crate) async fn list(request: HttpRequest, state: Data<State>) -> HandlerResult {
    authorize(&request, &state, Op::SessionRead, None).await?;
    let listing = Listing::parse(request.query_string())?;
    let entries = state.bridge.list::<SessionDocument>(Bucket::Sessions).await?;
    let documents = entries.into_iter().map(|(_, entry)| entry.value).collect();
    let (documents, total) = listing.select(documents);
    Ok(match listing.recursion {
        true => response::list(documents.iter().map(SessionView::of).collect::<Vec<_>>(), total),
        false => response::list(documents.iter().map(|d| &d.id).collect::<Vec<_>>(), total),
    })
}

/// GET `/1.0/sessions/{id}`.
pub(crate) async fn read(
    request: HttpRequest,
    id: Path<String>,
    state: Data<State>,
) -> HandlerResult {
    let (_, id) = authorize_for(&id, &request, &state, Op::SessionRead).await?;
    let entry = session_documents::read(&state.bridge, &id).await?;
    Ok(ok(SessionView::of(&entry.value)))
}

/// POST `/1.0/sessions/{id}/join`: makes the caller the client, instead of whoever was it.
pub(crate) async fn join(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    state: Data<State>,
) -> HandlerResult {
    let (caller, id) = authorize_for(&id, &request, &state, Op::SessionJoin).await?;
    let base = state.socket_base(&request)?;
    let screen = request::join(&body(payload).await?)?;
    join_as(&state, &caller, &id, JoinRequest { screen, base }).await
}

/// What a client that joins brings along.
pub(crate) struct JoinRequest {
    pub(crate) screen: ScreenRequest,
    /// What its socket's address begins with.
    pub(crate) base: String,
}

/// Makes `caller` the client of a session, in the role that its token is for.
pub(crate) async fn join_as(
    state: &State,
    caller: &Caller,
    id: &SessionId,
    JoinRequest { screen, base }: JoinRequest,
) -> HandlerResult {
    let role = caller.role()?;
    let leased = acquire_lease(state, id).await?;
    let document = session_documents::change(&state.bridge, id, |document| {
        may_join(document)?;
        if leased.is_some_and(|generation| generation != document.generation) {
            return Err(conflict());
        }
        let wanted = screen.over(document.request.screen).checked();
        let screen = wanted.map_err(|error| bad_request(error.to_string()))?;
        document.generation += 1;
        document.desired.client = Some(Client { screen, role });
        Ok(())
    })
    .await?;
    let ice: ClientIce = state.bridge.ask(subjects::join(id), &Ask {}, OWNER_DEADLINE).await?;
    let url = state.socket_url(&base, &document, caller).await?;
    log::info!("session {id} joined by {caller} for {role}, client {}", document.generation);
    Ok(ok(JoinedSession { id, url, stun_servers: ice.ice_servers }))
}

/// Makes sure, where the present client is not to be replaced, that there is none, and returns the
/// generation of which that is true; then the client lease is reserved for the next one.
async fn acquire_lease(state: &State, id: &SessionId) -> Result<Option<u64>, HttpError> {
    let document = session_documents::read(&state.bridge, id).await?.value;
    if document.request.on_conflict == OnConflict::Replace {
        return Ok(None);
    }
    may_join(&document)?;
    if client_lease::is_taken(&state.bridge, &document).await? {
        return Err(conflict().into());
    }
    client_lease::reserve(&state.bridge, id, document.generation + 1).await;
    Ok(Some(document.generation))
}

fn conflict() -> Refusal {
    Refusal::new(Code::Conflict, "session has a client, and does not replace it")
}

fn may_join(document: &SessionDocument) -> Result<(), Refusal> {
    let sentence = match document.status {
        Status::Active if document.desired.state == DesiredState::Running => return Ok(()),
        Status::Created => "session is not active yet",
        Status::Active | Status::Terminating => "session is ending",
        Status::Terminated | Status::Error => "session has ended",
    };
    Err(Refusal::new(Code::Conflict, sentence))
}

#[derive(Deserialize)]
struct DeleteQuery {
    force: Option<String>,
    sync: Option<String>,
}

/// DELETE `/1.0/sessions/{id}`: has the owner end it. With `force` it does not matter whether the
/// owner is there; with `sync` the answer comes after the end.
pub(crate) async fn delete(
    request: HttpRequest,
    id: Path<String>,
    state: Data<State>,
) -> HandlerResult {
    let (caller, id) = authorize_for(&id, &request, &state, Op::SessionDelete).await?;
    let query = Query::<DeleteQuery>::from_query(request.query_string());
    let DeleteQuery { force, sync } = query.map_err(|_| bad_request("the query is malformed"))?.0;
    let force = listing::flag("force", force.as_deref())?;
    let sync = listing::flag("sync", sync.as_deref())?;

    let cause = format!("deleted by {caller}");
    let document = session_documents::end(&state.bridge, &id, Status::Terminated, &cause).await?;
    session_documents::unrevoke_kept(&state.tokens, &document).await;
    log::info!("session {id} {cause}");
    if document.status.is_final() {
        return Ok(ok(()));
    }
    let (subject, terminate) = (subjects::terminate(&id), Terminate { cause });
    let begun = state.bridge.ask::<_, Ask>(subject, &terminate, OWNER_DEADLINE).await;
    match begun {
        Ok(Ask {}) => {}
        Err(BridgeError::NoResponder | BridgeError::TimedOut) if force => {}
        Err(BridgeError::NoResponder | BridgeError::TimedOut) => {
            let sentence = "the agent is away; the session ends when it returns";
            return Err(Refusal::new(Code::Unavailable, sentence).into());
        }
        Err(error) => return Err(error.into()),
    }
    if sync && !session_documents::wait_for_end(&state.bridge, &id, END_DEADLINE).await? {
        return Err(Refusal::new(Code::Unavailable, "the session is still ending").into());
    }
    Ok(ok(()))
}
