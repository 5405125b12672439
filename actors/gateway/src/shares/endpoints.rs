//! The HTTP endpoints of shares.

use std::collections::HashSet;
use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use stream_http::ScreenRequest;
use stream_protocol::{Op, Role, SessionId, ShareId, Timestamp};

#[cfg(test)]
use super::request::ShareType;
use super::request::role;
use super::{Listing, NewShare, Share, SharePatch, qr_code};
use crate::auth::{Caller, authorize, authorize_for, authorize_token};
use crate::error::bad_request;
use crate::query::flag;
use crate::response;
use crate::response::{HandlerResult, HttpError, accepted, body, ok};
use crate::sessions::endpoints::{connect_adb, join_as};
use crate::state::State;

/// A share as clients see it. The link in `url` holds its token.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Share"))]
pub(crate) struct ShareView<'a> {
    id: &'a ShareId,
    session_id: &'a SessionId,
    #[cfg_attr(test, schemars(with = "ShareType"))]
    r#type: Role,
    description: &'a str,
    created_at: Timestamp,
    expiry_at: Timestamp,
    /// The minutes that are left, rounded up; older clients read it.
    expiry_min: u64,
    /// The account that made it; absent where the operator of a gateway's machine did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String"))]
    made_by: Option<&'a str>,
    /// What the page opens, or connects a client of ADB; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String"))]
    url: Option<&'a str>,
}

impl<'a> ShareView<'a> {
    pub(crate) fn of(share: &'a Share, url: Option<&'a str>) -> Self {
        Self {
            id: &share.id,
            session_id: &share.session_id,
            r#type: share.role,
            description: &share.description,
            created_at: share.created_at,
            expiry_at: share.expiry_at,
            expiry_min: share.expiry_at.secs_since(Timestamp::now()).div_ceil(60),
            made_by: share.made_by.as_ref().map(|maker| maker.account.as_str()),
            url,
        }
    }
}

/// What a list of shares holds.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Shares"))]
#[serde(untagged)]
pub(crate) enum Listed<'a> {
    Ids(Vec<&'a ShareId>),
    Whole(Vec<ShareView<'a>>),
}

/// POST `/1.0/sessions/{id}/share`: makes a share of the session, which lasts no longer than the
/// caller's token.
pub(crate) async fn create(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    state: Data<State>,
) -> HandlerResult {
    let (caller, id) = authorize_for(&id, &request, &state, Op::ShareCreate).await?;
    let base = state.urls.page_base(&request)?;
    let new = NewShare::parse(&body(&request, payload).await?, state.bridge.now())?;
    check_grant(&caller, new.role)?;
    let by = (caller.maker(), caller.end());
    let made = super::make(&state.views, &state.tokens, &id, new, by, &base).await;
    let (share, url) = made?;
    log::info!(share:% = share.id, session:% = id, caller:%; "share created");
    Ok(ok(ShareView::of(&share, Some(&url))))
}

/// GET `/1.0/shares`: ids, or with `recursion` whole shares without their links.
pub(crate) async fn list(request: HttpRequest, state: Data<State>) -> HandlerResult {
    let caller = authorize(&request, &state, Op::ShareRead, None).await?;
    let listing = Listing::parse(request.query_string())?;
    let mut shares = super::all(&state.views, listing.session.as_ref()).await?;
    if let Some(account) = caller.sees_only_its_own() {
        let own = state.views.sessions(|sessions| {
            let made = sessions.of_account(account.id());
            made.map(|session| session.id.clone()).collect::<HashSet<_>>()
        });
        let own = own.await?;
        shares.retain(|share| own.contains(&share.session_id));
    }
    let total = shares.len();
    let shares = listing.part(shares);
    let listed = match listing.recursion {
        true => Listed::Whole(shares.iter().map(|share| ShareView::of(share, None)).collect()),
        false => Listed::Ids(shares.iter().map(|share| &share.id).collect()),
    };
    Ok(response::list(listed, total))
}

/// GET `/1.0/shares/{id}`: a share with its link.
pub(crate) async fn read(
    request: HttpRequest,
    id: Path<String>,
    state: Data<State>,
) -> HandlerResult {
    let caller = authorize(&request, &state, Op::ShareRead, None).await?;
    let base = state.urls.page_base(&request)?;
    let share = find(&caller, &parse(&id)?, &state).await?;
    show(&caller, &share, &state, &base).await
}

/// POST `/1.0/shares/{id}/qr`: the link of a share as a QR code. It changes nothing; that it is no
/// GET keeps it out of caches and of addresses that can be visited.
pub(crate) async fn draw(
    request: HttpRequest,
    id: Path<String>,
    state: Data<State>,
) -> HandlerResult {
    let caller = authorize(&request, &state, Op::ShareRead, None).await?;
    let base = state.urls.page_base(&request)?;
    let share = find(&caller, &parse(&id)?, &state).await?;
    let link = link(&caller, &share, &state, &base).await?;
    let code = qr_code::to_svg(&link)
        .map_err(|_| bad_request("the link of this share is too long for a QR code"))?;
    let kind = (CONTENT_TYPE, "image/svg+xml");
    Ok(HttpResponse::Ok().insert_header(kind).insert_header((CACHE_CONTROL, "no-store")).body(code))
}

/// PATCH `/1.0/shares/{id}`: changes a share; its link stays the same, also with another expiry.
pub(crate) async fn change(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    state: Data<State>,
) -> HandlerResult {
    let caller = authorize(&request, &state, Op::ShareUpdate, None).await?;
    let (id, base) = (parse(&id)?, state.urls.page_base(&request)?);
    let patch = SharePatch::parse(&body(&request, payload).await?)?;
    let found = find(&caller, &id, &state).await?;
    check_grant(&caller, found.role)?;
    let share = super::edit(&state.views, &state.tokens, &id, &patch, caller.end()).await?;
    log::info!(share:% = id, caller:%; "share changed");
    show(&caller, &share, &state, &base).await
}

/// How a share is to be ended.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct DeleteQuery {
    /// When it is false the answer is 202; it is done all the same.
    #[cfg_attr(test, schemars(with = "Option<bool>", extend("default" = true)))]
    sync: Option<String>,
}

/// DELETE `/1.0/shares/{id}`: ends a share and closes the sockets that it opened. The share has
/// ended when the answer comes; with `sync=false` the status is 202 all the same.
pub(crate) async fn delete(
    request: HttpRequest,
    id: Path<String>,
    state: Data<State>,
) -> HandlerResult {
    let caller = authorize(&request, &state, Op::ShareDelete, None).await?;
    let query = Query::<DeleteQuery>::from_query(request.query_string());
    let DeleteQuery { sync } = query.map_err(|_| bad_request("the query is malformed"))?.0;
    let sync = sync.as_deref().map(|sync| flag("sync", Some(sync))).transpose()?;
    let id = parse(&id)?;
    if caller.sees_only_its_own().is_some() {
        find(&caller, &id, &state).await?;
    }
    super::end(&state.bridge, &state.tokens, &id).await?;
    log::info!(share:% = id, caller:%; "share deleted");
    Ok(if sync == Some(false) { accepted() } else { ok(()) })
}

/// The query of a link that joins at once.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ConnectQuery {
    /// That of the share.
    #[cfg_attr(test, schemars(with = "Option<ShareType>"))]
    r#type: Option<String>,
    #[cfg_attr(test, schemars(skip))]
    token: String,
    /// Whether the client takes the fresh ICE servers that come over its socket.
    #[cfg_attr(test, schemars(with = "Option<bool>", extend("default" = false)))]
    renew: Option<String>,
}

/// GET `/1.0/sessions/{id}/connect`: joins the session, or connects to its ADB, with the token of a
/// share in the address, for clients other than the page.
pub(crate) async fn connect(
    request: HttpRequest,
    id: Path<String>,
    state: Data<State>,
) -> HandlerResult {
    let query = Query::<ConnectQuery>::from_query(request.query_string());
    let ConnectQuery { r#type, token, renew } =
        query.map_err(|_| HttpError::Unauthorized)?.into_inner();
    let id = id.parse::<SessionId>().map_err(|_| HttpError::Unauthorized)?;
    let caller = authorize_token(&token, &request, &state, Op::SessionJoin, Some(&id)).await?;
    let Some(share) = &caller.share else { return Err(HttpError::Unauthorized) };
    if role(r#type.as_deref())? != share.role {
        return Err(bad_request("type is not that of the share").into());
    }
    let base = state.urls.socket_base(&request)?;
    let renew = flag("renew", renew.as_deref())?;
    if share.is_adb() {
        return connect_adb(&state, &caller, share, &id, renew, &base).await;
    }
    join_as(&state, &caller, &id, (ScreenRequest::default(), renew), &base).await
}

/// Returns the share `id` if it is open and `caller` sees its session.
async fn find(caller: &Caller, id: &ShareId, state: &State) -> Result<Arc<Share>, HttpError> {
    let share = super::find_open(&state.views, &state.tokens, id.as_str()).await?;
    let share = share.ok_or_else(super::not_found)?;
    match caller.sees(&share.session_id, state).await? {
        true => Ok(share),
        false => Err(super::not_found().into()),
    }
}

async fn show(caller: &Caller, share: &Share, state: &State, base: &str) -> HandlerResult {
    let url = link(caller, share, state, base).await?;
    Ok(ok(ShareView::of(share, Some(&url))))
}

/// Returns the link of a share for a caller who may give it away.
async fn link(
    caller: &Caller,
    share: &Share,
    state: &State,
    base: &str,
) -> Result<String, HttpError> {
    check_grant(caller, share.role)?;
    Ok(share.link(&state.tokens, base).await?)
}

/// Refuses a caller whose token is bound to another role than the one to be given away.
fn check_grant(caller: &Caller, role: Role) -> Result<(), HttpError> {
    if caller.may_grant(role) { Ok(()) } else { Err(HttpError::token_forbids()) }
}

fn parse(id: &str) -> Result<ShareId, HttpError> {
    Ok(id.parse::<ShareId>().map_err(|error| bad_request(error.to_string()))?)
}
