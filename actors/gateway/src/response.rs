//! How requests are answered: the envelope, and the one place where a refusal gets its status.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;
use stream_protocol::{Failure, Refusal, RefusalCode, Success};
use stream_tokens::TokensError;

use crate::error::{bad_request, tokens_refusal};
use crate::shares::ShareError;

/// The largest body of a request, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// A body that takes longer to arrive is given up.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

pub(crate) type HandlerResult = Result<HttpResponse, HttpError>;

/// Why a request gets no success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("the token does not allow this")]
    Forbidden,
    #[error(transparent)]
    Refusal(#[from] Refusal),
    #[error("a session has at most 5 shares")]
    TooManyShares,
    /// One text for all causes: a stranger learns nothing from it.
    #[error("a valid token is needed")]
    Unauthorized,
}

impl ResponseError for HttpError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Forbidden | Self::TooManyShares => StatusCode::FORBIDDEN,
            Self::Refusal(refusal) => StatusCode::from_u16(refusal.code.http_status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let mut response = HttpResponse::build(status);
        response.insert_header((CACHE_CONTROL, "no-store"));
        match self {
            Self::Refusal(refusal) if refusal.code.is_transient() => {
                response.insert_header((RETRY_AFTER, "1"));
            }
            Self::Unauthorized => {
                response.insert_header((WWW_AUTHENTICATE, "Macaroon"));
            }
            _ => {}
        }
        response.json(Failure::new(status.as_u16(), &self.to_string()))
    }
}

impl From<ShareError> for HttpError {
    fn from(error: ShareError) -> Self {
        match error {
            ShareError::Refused(refusal) => Self::Refusal(refusal),
            ShareError::TooMany => Self::TooManyShares,
        }
    }
}

impl From<TokensError> for HttpError {
    fn from(error: TokensError) -> Self {
        match error {
            TokensError::Invalid => Self::Unauthorized,
            TokensError::Forbidden => Self::Forbidden,
            error => Self::Refusal(tokens_refusal(error)),
        }
    }
}

pub(crate) fn ok(metadata: impl Serialize) -> HttpResponse {
    build(StatusCode::OK).json(Success::new(200, metadata))
}

pub(crate) fn created(metadata: impl Serialize) -> HttpResponse {
    build(StatusCode::CREATED).json(Success::new(201, metadata))
}

/// The answer to somebody who does not wait for the end.
pub(crate) fn accepted() -> HttpResponse {
    build(StatusCode::ACCEPTED).json(Success::new(202, ()))
}

pub(crate) fn list(metadata: impl Serialize, total_size: usize) -> HttpResponse {
    build(StatusCode::OK).json(Success::list(metadata, total_size))
}

fn build(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    // Answers hold socket tokens and relay passwords.
    response.insert_header((CACHE_CONTROL, "no-store"));
    response
}

/// Reads the body of a request, whatever type it claims to have.
pub(crate) async fn body(payload: Payload) -> Result<Bytes, HttpError> {
    let read = tokio::time::timeout(BODY_DEADLINE, payload.to_bytes_limited(MAX_BODY));
    let refusal = match read.await {
        Ok(Ok(Ok(bytes))) => return Ok(bytes),
        Ok(Ok(Err(_))) => bad_request("the body broke off"),
        Ok(Err(_)) => {
            Refusal::new(RefusalCode::TooLarge, format!("a body has at most {MAX_BODY} bytes"))
        }
        Err(_) => bad_request("the body did not arrive in time"),
    };
    Err(refusal.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passing_refusal_says_when_to_try_again() {
        let busy = HttpError::from(Refusal::new(RefusalCode::Busy, "later")).error_response();
        assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(busy.headers().get(RETRY_AFTER).unwrap(), "1");
        let gone = HttpError::from(Refusal::new(RefusalCode::NotFound, "gone")).error_response();
        assert_eq!(gone.status(), StatusCode::NOT_FOUND);
        assert!(gone.headers().get(RETRY_AFTER).is_none());
    }

    #[test]
    fn a_bad_token_and_a_weak_one_are_told_apart() {
        let status = |error: TokensError| HttpError::from(error).status_code().as_u16();
        assert_eq!(status(TokensError::Invalid), 401);
        assert_eq!(status(TokensError::Forbidden), 403);
        assert_eq!(status(TokensError::NotReady("no keys yet".into())), 503);
    }
}
