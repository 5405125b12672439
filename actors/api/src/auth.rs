//! Authorization: the token of a request, and whether it opens what is asked for.

use std::time::Instant;

use actix_web::HttpRequest;
use stream_http::{HttpError, authorization, client_address, note_token};
use stream_protocol::{Op, SessionId, TokenKind};
use stream_tokens::{Claims, TokensError};

use crate::error::ApiError;
use crate::state::AppState;

/// Checks that the token of `request` allows `op` on the session in its path, and returns both.
/// Once the session has ended, the token of its instance opens the report and nothing else.
///
/// # Errors
///
/// 401, 403, 429 and 503 as [`plain`]; 401 for the token that an instance had before AMS asked for
/// its session again; 404 for a path that names no session, only if the token could see one.
pub(crate) async fn session(
    request: &HttpRequest,
    state: &AppState,
    op: Op,
) -> Result<(SessionId, Claims), ApiError> {
    let id = request.match_info().get("id").and_then(|id| id.parse::<SessionId>().ok());
    let claims = authorize(request, state, op, id.as_ref()).await?;
    let id = id.ok_or_else(ApiError::no_such_session)?;
    if claims.kind == TokenKind::Instance {
        state.sessions.arrivals().note_instance(&id);
        check_instance(state, op, &id, &claims).await?;
    }
    Ok((id, claims))
}

/// Checks that an instance may do `op` in the present state of its session.
async fn check_instance(
    state: &AppState,
    op: Op,
    id: &SessionId,
    claims: &Claims,
) -> Result<(), ApiError> {
    // What is not there, or cannot be read now, is the handler's to tell.
    let Ok(document) = state.sessions.read(id).await else { return Ok(()) };
    if document.instance_token.as_ref().is_some_and(|token| *token != claims.id) {
        return Err(HttpError::Unauthorized.into());
    }
    match op == Op::SessionReport || !document.status.is_final() {
        true => Ok(()),
        false => Err(HttpError::token_forbids().into()),
    }
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
    let refused = |cause| state.refusals.note_request(cause, client_address(request));
    let claims = state.tokens.verify(token, op, session).await.inspect_err(|error| {
        if matches!(error, TokensError::Invalid) {
            refused("token");
        }
    })?;
    note_token(request, claims.id.as_str());
    // Neither means anything here.
    if claims.restrictions.generation.is_some() || claims.restrictions.role.is_some() {
        return Err(HttpError::token_forbids().into());
    }
    if !state.rate_limiter.check(claims.id.as_str(), Instant::now()) {
        refused("token_rate");
        return Err(HttpError::RateLimited.into());
    }
    Ok(claims)
}
