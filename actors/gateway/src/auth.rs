//! Who calls, and whether they may.

use std::fmt;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::web::Query;
use serde::Deserialize;
use stream_audit::Who;
use stream_http::{authorization, client_address, note_token};
use stream_protocol::{IceTerms, Maker, Op, Refusal, Role, SessionId, Timestamp, TokenKind};
use stream_tokens::{Claims, TokensError};

use crate::accounts::{self, Account};
use crate::audited;
use crate::error::bad_request;
use crate::response::{HttpError, token_error};
use crate::session_documents;
use crate::shares::{self, Share};
use crate::state::State;

/// The bearer of a token that allows what was asked: an account, or the holder of a share's link.
pub(crate) struct Caller {
    /// The name of the account, or the id of the share.
    pub(crate) name: String,
    pub(crate) claims: Claims,
    pub(crate) account: Option<Arc<Account>>,
    /// When the token of the account ends that another one has replaced; `None` for any other.
    pub(crate) replaced_until: Option<Timestamp>,
    /// The share that let the caller in.
    pub(crate) share: Option<Arc<Share>>,
}

impl Caller {
    /// Returns the role in which the caller may be the client of a session.
    ///
    /// # Errors
    ///
    /// Refuses a token that is bound to a role that is not served.
    pub(crate) fn role(&self) -> Result<Role, Refusal> {
        match self.claims.restrictions.role {
            Some(Role::Adb) => Err(bad_request("the token is for adb: connect with its URL")),
            Some(role) => Ok(role),
            None => Ok(Role::Control),
        }
    }

    /// Whether the caller may give `role` away: nobody gives away more than they have. Who controls
    /// the device sees it; ADB does what no touch can.
    pub(crate) fn may_grant(&self, role: Role) -> bool {
        match self.claims.restrictions.role {
            None => true,
            Some(Role::Control) => role != Role::Adb,
            Some(own) => own == role,
        }
    }

    /// Returns the caller as the audit log names it.
    fn who(&self) -> Who {
        let (name, token) = (self.name.clone(), self.claims.id.clone());
        match self.share {
            Some(_) => Who::Share { id: name, token },
            None => Who::Account { name, token },
        }
    }

    /// Returns who is to be noted as the maker of what the caller makes.
    pub(crate) fn maker(&self) -> Option<Maker> {
        let account = self.account.as_ref()?;
        let token_id = account.id().to_owned();
        Some(Maker { account: account.name.as_str().to_owned(), token_id })
    }

    /// Returns the account of a caller that sees no sessions but its own.
    pub(crate) fn sees_only_its_own(&self) -> Option<&Account> {
        self.account.as_deref().filter(|account| account.limits.own_sessions)
    }

    /// Whether the caller sees the session `id`; one that is not there is told by whoever reads it.
    pub(crate) async fn sees(&self, id: &SessionId, state: &State) -> Result<bool, Refusal> {
        let Some(account) = self.sees_only_its_own() else { return Ok(true) };
        let session = state.views.session(id).await?;
        Ok(session.is_none_or(|one| account.is(one.made_by.as_ref())))
    }

    /// Returns when everything ends that is given to the caller; `None` is never.
    pub(crate) fn end(&self) -> Option<Timestamp> {
        let share = self.share.as_ref().map(|share| share.expiry_at);
        self.token_end().into_iter().chain(share).min()
    }

    /// Returns on which terms the caller gets ICE servers; `renew` is whether it takes fresh ones.
    pub(crate) fn ice_terms(&self, renew: bool) -> IceTerms {
        IceTerms { renew, until: self.end() }
    }

    /// Returns when the token ends that the caller came with; `None` is never.
    pub(crate) fn token_end(&self) -> Option<Timestamp> {
        self.claims.restrictions.end().into_iter().chain(self.replaced_until).min()
    }
}

/// Writes the caller as logs name it.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.share.is_some() { "share" } else { "account" };
        write!(f, "{what} {}", self.name)
    }
}

#[derive(Deserialize)]
struct TokenInQuery {
    api_token: Option<String>,
}

/// Returns who sent `request`.
///
/// # Errors
///
/// Refuses when the token is missing, is not valid, does not allow `op` on `session`, or belongs to
/// an account or a share that is gone.
pub(crate) async fn authorize(
    request: &HttpRequest,
    state: &State,
    op: Op,
    session: Option<&SessionId>,
) -> Result<Caller, HttpError> {
    let token = token(request, state.token_in_query)?;
    authorize_token(&token, request, state, op, session).await
}

/// Returns the bearer of `token`, which came with `request`.
///
/// # Errors
///
/// Refuses like [`authorize`].
pub(crate) async fn authorize_token(
    token: &str,
    request: &HttpRequest,
    state: &State,
    op: Op,
    session: Option<&SessionId>,
) -> Result<Caller, HttpError> {
    let found = find_caller(token, state, op, session).await;
    let refused = |cause| state.refusals.note_request(cause, client_address(request));
    if matches!(found, Err(HttpError::Unauthorized)) {
        refused("token");
    }
    let caller = found?;
    note_token(request, &caller.claims.id);
    if !state.admits_request(&caller.claims.id) {
        refused("token_rate");
        return Err(HttpError::RateLimited);
    }
    audited::begin(request, &state.audit, (caller.who(), op, session)).await?;
    Ok(caller)
}

async fn find_caller(
    token: &str,
    state: &State,
    op: Op,
    session: Option<&SessionId>,
) -> Result<Caller, HttpError> {
    let claims = match state.tokens.verify(token, op, session).await {
        Ok(claims) => claims,
        Err(error) => {
            // That a token does not allow this is no matter of the session.
            if let (Some(session), TokensError::Invalid) = (session, &error) {
                let parts = (&state.views, &state.tokens);
                state.turned_away.note_token(parts, session, (token, &error)).await;
            }
            return Err(token_error(error));
        }
    };
    // Nothing but a socket is of one client.
    if claims.restrictions.generation.is_some() {
        return Err(HttpError::token_forbids());
    }
    let mut replaced_until = None;
    let (account, share) = match claims.kind {
        // Deleting an account is how its token is revoked.
        TokenKind::Account | TokenKind::Operator => {
            let (name, now) = (&claims.subject, state.bridge.now());
            let found = accounts::of_token(&state.views, name, &claims.id, now).await?;
            let (account, until) = found.ok_or(HttpError::Unauthorized)?;
            replaced_until = until;
            state.account_uses.note(&account, now);
            (Some(account), None)
        }
        TokenKind::Share => {
            let found = shares::find_open(&state.views, &state.tokens, &claims.subject).await?;
            match found {
                Some(share) if share.token_id == claims.id => (None, Some(share)),
                _ => return Err(HttpError::Unauthorized),
            }
        }
        _ => return Err(HttpError::token_forbids()),
    };
    Ok(Caller { name: claims.subject.clone(), claims, account, replaced_until, share })
}

/// Returns who sent `request`, which is about the session that `id` names, and the session's id.
///
/// # Errors
///
/// Refuses like [`authorize`], and with a valid token a text that is no session id.
pub(crate) async fn authorize_for(
    id: &str,
    request: &HttpRequest,
    state: &State,
    op: Op,
) -> Result<(Caller, SessionId), HttpError> {
    let id = id.parse::<SessionId>();
    let caller = authorize(request, state, op, id.as_ref().ok()).await?;
    let id = id.map_err(|error| bad_request(error.to_string()))?;
    match caller.sees(&id, state).await? {
        true => Ok((caller, id)),
        // Whether it is there is nobody's business but its maker's.
        false => Err(session_documents::not_found().into()),
    }
}

/// Whether the request has a token, whether valid or not.
pub(crate) fn has_token(request: &HttpRequest, state: &State) -> bool {
    token(request, state.token_in_query).is_ok()
}

/// Finds the token of `request` in its header or, if the operator lets it, in its query.
fn token(request: &HttpRequest, in_query: bool) -> Result<String, HttpError> {
    if let Some(token) = authorization(request.headers())? {
        return Ok(token.to_owned());
    }
    let query = Query::<TokenInQuery>::from_query(request.query_string());
    let token = query.ok().filter(|_| in_query).and_then(|query| query.into_inner().api_token);
    token.ok_or(HttpError::Unauthorized)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::AUTHORIZATION;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_token_in_the_query_counts_only_when_allowed_and_never_beside_a_header() {
        let request = TestRequest::with_uri("/1.0/sessions?api_token=q").to_http_request();
        assert!(token(&request, false).is_err());
        assert_eq!(token(&request, true).unwrap(), "q");
        let both = TestRequest::with_uri("/1.0/sessions?api_token=q")
            .insert_header((AUTHORIZATION, "Bearer x"))
            .to_http_request();
        assert!(token(&both, true).is_err());
    }
}
