//! The HTTP skin over shares, `contract.md` 3.4.

use actix_web::HttpRequest;
use actix_web::web::{Data, Path, Payload, Query};
use serde::{Deserialize, Serialize};
use stream_protocol::{Op, Role, SessionId, ShareId};

use super::request::{Listing, role};
use super::{Change, Share, Wish};
use crate::answer::{Answer, Refused, accepted, body, malformed, ok};
use crate::caller::{Caller, admit, authorize, authorize_for};
use crate::sessions::listing::flag;
use crate::sessions::{self, Joining};
use crate::state::State;
use crate::{answer, clock};

/// A share as clients see it; `url` holds its token.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a ShareId,
    session_id: &'a SessionId,
    r#type: Role,
    description: &'a str,
    created_at: u64,
    expiry_at: u64,
    /// What is left, rounded up; the older way to say it.
    expiry_min: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn of(share: &'a Share, url: Option<&'a str>) -> Self {
        Self {
            id: &share.id,
            session_id: &share.session_id,
            r#type: share.role,
            description: &share.description,
            created_at: share.created_at,
            expiry_at: share.expiry_at,
            expiry_min: share.expiry_at.saturating_sub(clock::now()).div_ceil(60),
            url,
        }
    }
}

/// POST `/1.0/sessions/{id}/share`: makes a link to the session. It lasts no longer than the token
/// of whoever makes it.
pub(crate) async fn create(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    state: Data<State>,
) -> Answer {
    let (caller, id) = authorize_for(&id, &request, &state, Op::ShareCreate).await?;
    let base = state.page_base(&request)?;
    let wish = Wish::parse(&body(payload).await?, clock::now())?;
    grants(&caller, wish.role)?;
    let made = super::make(&state.bridge, &state.tokens, &id, wish, caller.end(), &base).await;
    let (share, url) = made?;
    log::info!("share {} of session {id} created by {caller}", share.id);
    Ok(ok(Shown::of(&share, Some(&url))))
}

/// GET `/1.0/shares`: ids, or with `recursion` whole shares without their links.
pub(crate) async fn list(request: HttpRequest, state: Data<State>) -> Answer {
    authorize(&request, &state, Op::ShareRead, None).await?;
    let listing = Listing::parse(request.query_string())?;
    let shares = super::all(&state.bridge, listing.session.as_ref()).await?;
    let total = shares.len();
    let shares = listing.part(shares);
    Ok(match listing.recursion {
        true => answer::list(shares.iter().map(|s| Shown::of(s, None)).collect::<Vec<_>>(), total),
        false => answer::list(shares.iter().map(|share| &share.id).collect::<Vec<_>>(), total),
    })
}

/// GET `/1.0/shares/{id}`: a share and its link.
pub(crate) async fn read(request: HttpRequest, id: Path<String>, state: Data<State>) -> Answer {
    let caller = authorize(&request, &state, Op::ShareRead, None).await?;
    let base = state.page_base(&request)?;
    let share = super::find_open(&state.bridge, parse(&id)?.as_str()).await?;
    show(&caller, &share.ok_or_else(super::none)?, &state, &base).await
}

/// PATCH `/1.0/shares/{id}`: its link stays the same, also with another end.
pub(crate) async fn change(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    state: Data<State>,
) -> Answer {
    let caller = authorize(&request, &state, Op::ShareUpdate, None).await?;
    let (id, base) = (parse(&id)?, state.page_base(&request)?);
    let change = Change::parse(&body(payload).await?)?;
    let share = super::edit(&state.bridge, &id, &change, caller.end()).await?;
    log::info!("share {id} changed by {caller}");
    show(&caller, &share, &state, &base).await
}

#[derive(Deserialize)]
struct Deletion {
    sync: Option<String>,
}

/// DELETE `/1.0/shares/{id}`: whoever came through the share is cut off at once. It is done when
/// the answer comes, also for those who do not ask for that.
pub(crate) async fn delete(request: HttpRequest, id: Path<String>, state: Data<State>) -> Answer {
    let caller = authorize(&request, &state, Op::ShareDelete, None).await?;
    let query = Query::<Deletion>::from_query(request.query_string());
    let Deletion { sync } = query.map_err(|_| malformed("the query is malformed"))?.0;
    let sync = sync.as_deref().map(|sync| flag("sync", Some(sync))).transpose()?;
    let id = parse(&id)?;
    super::end(&state.bridge, &state.tokens, &id).await?;
    log::info!("share {id} deleted by {caller}");
    Ok(if sync == Some(false) { accepted() } else { ok(()) })
}

#[derive(Deserialize)]
struct Opening {
    r#type: Option<String>,
    token: String,
}

/// GET `/1.0/sessions/{id}/connect`: joins the session with the token of a share in the address,
/// for clients other than the page.
pub(crate) async fn connect(request: HttpRequest, id: Path<String>, state: Data<State>) -> Answer {
    let query = Query::<Opening>::from_query(request.query_string());
    let Opening { r#type, token } = query.map_err(|_| Refused::Unauthorized)?.into_inner();
    let id = id.parse::<SessionId>().map_err(|_| Refused::Unauthorized)?;
    let caller = admit(&token, &state, Op::SessionJoin, Some(&id)).await?;
    if caller.share.is_none() {
        return Err(Refused::Unauthorized);
    }
    if role(r#type.as_deref())? != caller.role()? {
        return Err(malformed("type is not that of the share").into());
    }
    let base = state.socket_base(&request)?;
    sessions::enter(&state, &caller, &id, Joining { wish: Default::default(), base }).await
}

async fn show(caller: &Caller, share: &Share, state: &State, base: &str) -> Answer {
    grants(caller, share.role)?;
    let url = share.link(&state.tokens, base).await?;
    Ok(ok(Shown::of(share, Some(&url))))
}

/// Refuses to let a caller whose own token is for one role give away another.
fn grants(caller: &Caller, role: Role) -> Result<(), Refused> {
    if caller.may_grant(role) { Ok(()) } else { Err(Refused::Forbidden) }
}

fn parse(id: &str) -> Result<ShareId, Refused> {
    Ok(id.parse::<ShareId>().map_err(|error| malformed(error.to_string()))?)
}
