//! The HTTP endpoints of sessions.

use actix_web::HttpRequest;
use actix_web::web::{Data, Path, Payload};
use serde::Serialize;
use stream_http::{ScreenRequest, idempotency_key};
use stream_protocol::{
    IceServer, OnConflict, Op, Refusal, RefusalCode, Role, SessionId, Status, Timestamp,
};
use tokio::time::Instant;

use super::join::Newcomer;
use super::launch::NewClient;
use super::listing::Listing;
use super::request::ClientQuery;
use super::socket_url::SocketUrls;
use super::{ClientSession, adb, idempotency, join, launch, request};
use crate::auth::{Caller, authorize, authorize_for};
use crate::response::{self, HandlerResult, HttpError, body, created, ok};
use crate::session_summary::SessionSummary;
use crate::share_record::Share;
use crate::state::State;
use crate::views::SessionIndex;
use crate::{accounts, client_lease, session_documents};

/// A session as clients see it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Session"))]
pub(crate) struct SessionView<'a> {
    id: &'a SessionId,
    app: &'a str,
    region: &'a str,
    status: Status,
    /// Why it came so, for an account; whoever has the link of a share is told no more than what.
    status_message: &'a str,
    joinable: bool,
    /// The instance; empty while there is none.
    container_id: &'a str,
    cluster_id: &'a str,
    created_at: Timestamp,
    /// The agent that has it; empty until one has taken it, and for whoever has the link of a
    /// share.
    agent: &'a str,
    /// Whether it has a client, who may be on the way.
    client: bool,
}

impl<'a> SessionView<'a> {
    /// Shows a session to `caller`.
    pub(crate) fn of(session: &'a SessionSummary, caller: &Caller) -> Self {
        Self {
            id: &session.id,
            app: &session.app,
            region: &session.region,
            status: session.status,
            status_message: match caller.share {
                Some(_) => session.status.sentence(),
                None => &session.message,
            },
            joinable: session.joinable,
            container_id: session.instance_id.as_deref().unwrap_or_default(),
            cluster_id: &session.cluster,
            created_at: session.created_at,
            agent: match (&caller.share, &session.owner) {
                (None, Some(owner)) => owner.as_str(),
                _ => "",
            },
            client: session.has_client,
        }
    }
}

/// What a list of sessions holds.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Sessions"))]
#[serde(untagged)]
pub(crate) enum Listed<'a> {
    Ids(Vec<&'a SessionId>),
    Whole(Vec<SessionView<'a>>),
}

/// A new session, and where its client opens its socket.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct CreatedSession<'a> {
    id: &'a SessionId,
    region: &'a str,
    status: Status,
    joinable: bool,
    /// Where the client opens its socket, soon.
    #[cfg_attr(test, schemars(regex(pattern = "^wss://")))]
    url: String,
    stun_servers: Vec<IceServer>,
}

/// A session that has a new client, and where that client opens its socket.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct JoinedSession<'a> {
    id: &'a SessionId,
    /// Where the client opens its socket, soon.
    #[cfg_attr(test, schemars(regex(pattern = "^wss://")))]
    url: String,
    stun_servers: Vec<IceServer>,
}

/// POST `/1.0/sessions`: has an agent launch an instance, and answers without waiting for its boot.
pub(crate) async fn create_session(
    request: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> HandlerResult {
    let begun = Instant::now();
    let caller = authorize(&request, &state, Op::SessionCreate, None).await?;
    let (key, base) = (idempotency_key(request.headers())?, state.urls.socket_base(&request)?);
    let renew = ClientQuery::renew(request.query_string())?;
    let body = body(&request, payload).await?;
    let idle_time_min = state.views.settings().await.idle_time_min;
    let defaults = request::Defaults { first_client_s: state.first_client_s, idle_time_min };
    let (wanted, role) = (request::session(&body, defaults)?, caller.role()?);
    let terms = caller.ice_terms(renew);
    // Its instance has not said yet that it lets a viewer do no more.
    if role == Role::View {
        return Err(HttpError::token_forbids());
    }

    let id = key.map(|key| idempotency::id(&caller.name, key));
    check_room(&caller, id.as_ref(), &state).await?;
    let urls = SocketUrls { state: &state, base: &base, caller: &caller };
    let client = NewClient { role, terms, begun };
    let placed = launch::place_session(&state, &urls, id, wanted, client).await?;
    let ClientSession { document, ice_servers: stun_servers, url } = placed;
    if document.request.on_conflict == OnConflict::Reject {
        client_lease::reserve(&state.bridge, &document.id, document.generation).await;
    }
    log::info!(session:% = document.id, caller:%; "session created");
    Ok(created(CreatedSession {
        id: &document.id,
        region: document.region(),
        status: document.status,
        joinable: document.request.joinable,
        url,
        stun_servers,
    }))
}

/// Refuses a session more than the account of `caller` may have; one that is there already is none.
async fn check_room(
    caller: &Caller,
    id: Option<&SessionId>,
    state: &State,
) -> Result<(), HttpError> {
    let Some(account) = &caller.account else { return Ok(()) };
    let Some(max) = account.limits.max_sessions else { return Ok(()) };
    let live = accounts::live_sessions(&state.views, account).await?;
    if live.len() < max as usize || id.is_some_and(|id| live.contains(id)) {
        return Ok(());
    }
    state.refusals.note_request("session_limit", None);
    let sentence = format!("the account has {max} sessions, as many as it may have");
    Err(Refusal::new(RefusalCode::TooMany, sentence).into())
}

/// GET `/1.0/sessions`: ids, or with `recursion` whole sessions.
pub(crate) async fn list_sessions(request: HttpRequest, state: Data<State>) -> HandlerResult {
    let caller = authorize(&request, &state, Op::SessionRead, None).await?;
    let listing = Listing::parse(request.query_string())?;
    let select = |sessions: &SessionIndex| match caller.sees_only_its_own() {
        Some(account) => listing.select_among(sessions.of_account(account.id())),
        None => listing.select(sessions),
    };
    let (chosen, total) = state.views.sessions(select).await?;
    let listed = match listing.recursion {
        true => Listed::Whole({
            chosen.iter().map(|session| SessionView::of(session, &caller)).collect()
        }),
        false => Listed::Ids(chosen.iter().map(|session| &session.id).collect()),
    };
    Ok(response::list(listed, total))
}

/// GET `/1.0/sessions/{id}`.
pub(crate) async fn read_session(
    request: HttpRequest,
    id: Path<String>,
    state: Data<State>,
) -> HandlerResult {
    let (caller, id) = authorize_for(&id, &request, &state, Op::SessionRead).await?;
    let session = state.views.session(&id).await?.ok_or_else(session_documents::not_found)?;
    Ok(ok(SessionView::of(&session, &caller)))
}

/// POST `/1.0/sessions/{id}/join`: makes the caller the client, instead of whoever was it.
pub(crate) async fn join_session(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    state: Data<State>,
) -> HandlerResult {
    let (caller, id) = authorize_for(&id, &request, &state, Op::SessionJoin).await?;
    let base = state.urls.socket_base(&request)?;
    let renew = ClientQuery::renew(request.query_string())?;
    let screen = request::join(&body(&request, payload).await?)?;
    join_as(&state, &caller, &id, (screen, renew), &base).await
}

/// Makes `caller` the client of session `id` in the role of its token, and answers with the URL of
/// its socket, which begins with `base`. `renew` is whether it takes fresh ICE servers.
pub(crate) async fn join_as(
    state: &State,
    caller: &Caller,
    id: &SessionId,
    (screen, renew): (ScreenRequest, bool),
    base: &str,
) -> HandlerResult {
    let role = caller.role()?;
    check_share_rate(state, caller)?;
    let urls = SocketUrls { state, base, caller };
    let newcomer =
        Newcomer { role, screen, terms: caller.ice_terms(renew), grace: state.client_grace };
    let joined = join::join_session(&state.bridge, &urls, id, newcomer).await;
    let refused = |error: &HttpError| state.turned_away.note(&state.bridge, id, (caller, error));
    let joined = joined.inspect_err(refused)?;
    let ClientSession { document, ice_servers: stun_servers, url } = joined;
    let generation = document.generation;
    log::info!(session:% = id, caller:%, role:%, generation; "session joined");
    Ok(ok(JoinedSession { id, url, stun_servers }))
}

/// Connects `caller`, who came through `share`, to the ADB of session `id`, and answers with the
/// URL of its socket, which begins with `base`.
pub(crate) async fn connect_adb(
    state: &State,
    caller: &Caller,
    share: &Share,
    id: &SessionId,
    renew: bool,
    base: &str,
) -> HandlerResult {
    check_share_rate(state, caller)?;
    let (urls, terms) = (SocketUrls { state, base, caller }, caller.ice_terms(renew));
    let connected = adb::connect(&state.bridge, &urls, id, share, terms).await;
    let refused = |error: &HttpError| state.turned_away.note(&state.bridge, id, (caller, error));
    let (generation, connected) = connected.inspect_err(refused)?;
    let ClientSession { ice_servers: stun_servers, url, .. } = connected;
    log::info!(session:% = id, caller:%, generation; "adb connected");
    Ok(ok(JoinedSession { id, url, stun_servers }))
}

/// Refuses whoever came through a share that has just been used.
fn check_share_rate(state: &State, caller: &Caller) -> Result<(), Refusal> {
    if let (Some(joins), Some(share)) = (&state.share_joins, &caller.share)
        && !joins.check(share.id.as_str(), Instant::now().into_std())
    {
        state.refusals.note_request("share_join_rate", None);
        return Err(Refusal::new(RefusalCode::TooMany, "the share was joined a moment ago"));
    }
    Ok(())
}
