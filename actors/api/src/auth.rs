//! Authorization: the token of a request, and whether it opens what is asked for.

use std::time::Instant;

use actix_web::HttpRequest;
use stream_http::{HttpError, authorization};
use stream_protocol::{Op, SessionId};
use stream_tokens::Claims;

use crate::error::ApiError;
use crate::state::AppState;

/// Checks that the token of `request` allows `op` on the session in its path, and returns both.
///
/// # Errors
///
/// 401, 403, 429 and 503 as [`plain`]; 404 for a path that names no session, only if the token
/// could see one.
pub(crate) async fn session(
    request: &HttpRequest,
    state: &AppState,
    op: Op,
) -> Result<(SessionId, Claims), ApiError> {
    let id = request.match_info().get("id").and_then(|id| id.parse::<SessionId>().ok());
    let claims = authorize(request, state, op, id.as_ref()).await?;
    Ok((id.ok_or_else(ApiError::no_such_session)?, claims))
}

/// Checks that the token of `request` allows `op`, which belongs to no session.
///
/// # Errors
///
/// 401 without a valid token, 403 for another operation, 429 for too many requests, 503 while
/// tokens cannot be checked.
pub(crate) async fn plain(
    request: &HttpRequest,
    state: &AppState,
    op: Op,
) -> Result<Claims, ApiError> {
    authorize(request, state, op, None).await
}

/// Checks the token and its rate. A token and all that is derived from it share one rate.
async fn authorize(
    request: &HttpRequest,
    state: &AppState,
    op: Op,
    session: Option<&SessionId>,
) -> Result<Claims, ApiError> {
    let token = authorization(request.headers())?.ok_or(HttpError::Unauthorized)?;
    let claims = state.tokens.verify(token, op, session).await?;
    match state.rate_limiter.check(claims.id.as_str(), Instant::now()) {
        true => Ok(claims),
        false => Err(HttpError::RateLimited.into()),
    }
}
