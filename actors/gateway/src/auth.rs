//! Who calls, and whether they may.

use std::fmt;

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::Query;
use serde::Deserialize;
use stream_protocol::{Op, Refusal, Role, SessionId, Timestamp, TokenKind};
use stream_tokens::Claims;

use crate::accounts;
use crate::error::bad_request;
use crate::response::HttpError;
use crate::shares::{self, Share};
use crate::state::State;

/// An account, or somebody with the link of a share, whose token allows what was asked.
pub(crate) struct Caller {
    /// Of the account; of a share the id.
    pub(crate) name: String,
    pub(crate) claims: Claims,
    /// The share that let the caller in.
    pub(crate) share: Option<Share>,
}

impl Caller {
    /// Returns as what the caller may be the client of a session.
    pub(crate) fn role(&self) -> Result<Role, Refusal> {
        match self.claims.restrictions.role {
            Some(Role::Adb) => Err(bad_request("adb is not served here")),
            Some(role) => Ok(role),
            None => Ok(Role::Control),
        }
    }

    /// Whether the caller may give `role` away: nobody gives more than they have.
    pub(crate) fn may_grant(&self, role: Role) -> bool {
        match self.claims.restrictions.role {
            None | Some(Role::Control) => true,
            Some(own) => own == role,
        }
    }

    /// Returns when everything ends that is given to the caller; `None` is never.
    pub(crate) fn end(&self) -> Option<Timestamp> {
        let token = self.claims.restrictions.expires.map(Timestamp::from);
        let share = self.share.as_ref().map(|share| share.expiry_at);
        token.into_iter().chain(share).min()
    }
}

/// As logs name the caller.
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

/// Returns who calls. Refuses when the token is missing, is not valid, does not allow `op` on
/// `session`, or belongs to an account or a share that is gone.
pub(crate) async fn authorize(
    request: &HttpRequest,
    state: &State,
    op: Op,
    session: Option<&SessionId>,
) -> Result<Caller, HttpError> {
    let token = token(request, state.token_in_query).ok_or(HttpError::Unauthorized)?;
    authorize_token(&token, state, op, session).await
}

/// [`authorize`] with a token that was found already.
pub(crate) async fn authorize_token(
    token: &str,
    state: &State,
    op: Op,
    session: Option<&SessionId>,
) -> Result<Caller, HttpError> {
    let claims = state.tokens.verify(token, op, session).await?;
    let share = match claims.kind {
        // Deleting an account is how its token is revoked.
        TokenKind::Account => match accounts::find(&state.bridge, &claims.subject).await? {
            Some(account) if account.token_id == claims.id => None,
            _ => return Err(HttpError::Unauthorized),
        },
        TokenKind::Share => match shares::find_open(&state.bridge, &claims.subject).await? {
            Some(share) if share.token_id == claims.id => Some(share),
            _ => return Err(HttpError::Unauthorized),
        },
        _ => return Err(HttpError::Forbidden),
    };
    Ok(Caller { name: claims.subject.clone(), claims, share })
}

/// [`authorize`] for a request about the session that `id` names. Whether it is a session id at
/// all is told only to those with a token.
pub(crate) async fn authorize_for(
    id: &str,
    request: &HttpRequest,
    state: &State,
    op: Op,
) -> Result<(Caller, SessionId), HttpError> {
    let id = id.parse::<SessionId>();
    let caller = authorize(request, state, op, id.as_ref().ok()).await?;
    Ok((caller, id.map_err(|error| bad_request(error.to_string()))?))
}

/// Whether the request brings a token, good or bad.
pub(crate) fn has_token(request: &HttpRequest, state: &State) -> bool {
    token(request, state.token_in_query).is_some()
}

fn token(request: &HttpRequest, in_query: bool) -> Option<String> {
    if let Some(header) = request.headers().get(AUTHORIZATION) {
        return header.to_str().ok().and_then(token_in).map(str::to_owned);
    }
    if !in_query {
        return None;
    }
    Query::<TokenInQuery>::from_query(request.query_string()).ok()?.into_inner().api_token
}

/// Finds the token in `Macaroon root=<token>`, as the different clients write it.
fn token_in(header: &str) -> Option<&str> {
    let (scheme, rest) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("macaroon") {
        return None;
    }
    let token = rest.trim().strip_prefix("root=")?;
    let quoted = token.strip_prefix('"').and_then(|token| token.strip_suffix('"'));
    Some(quoted.unwrap_or(token)).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_scheme_may_be_written_in_any_case_and_the_token_quoted() {
        for header in ["Macaroon root=abc", "macaroon root=abc", "MACAROON  root=\"abc\" "] {
            assert_eq!(token_in(header), Some("abc"), "{header}");
        }
        for header in ["", "abc", "Bearer abc", "Macaroon abc", "Macaroon root=", "Macaroonroot=a"]
        {
            assert_eq!(token_in(header), None, "{header}");
        }
    }

    #[test]
    fn a_token_in_the_query_counts_only_when_allowed_and_never_beside_a_header() {
        let request = TestRequest::with_uri("/1.0/sessions?api_token=q").to_http_request();
        assert_eq!(token(&request, false), None);
        assert_eq!(token(&request, true).as_deref(), Some("q"));
        let both = TestRequest::with_uri("/1.0/sessions?api_token=q")
            .insert_header((AUTHORIZATION, "Bearer x"))
            .to_http_request();
        assert_eq!(token(&both, true), None);
    }
}
