//! How the errors of the crates below become HTTP responses.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;
use stream_http::HttpError;
use stream_protocol::{Cursor, Refusal, RefusalCode};
use stream_sessions::SessionsError;
use stream_supervisor::AskError;
use stream_tokens::TokensError;

/// A request without success. It is an [`HttpError`], made from the errors of `sessions` and
/// `tokens`.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct ApiError(#[from] HttpError);

impl ApiError {
    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        HttpError::bad_request(text).into()
    }

    pub(crate) fn no_such_session() -> Self {
        Refusal::new(RefusalCode::NotFound, "session not found").into()
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        self.0.error_response()
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.into())
    }
}

impl From<SessionsError> for ApiError {
    fn from(error: SessionsError) -> Self {
        match error.fresh_cursor() {
            Some(fresh) => history_gone(fresh),
            None => error.refusal().into(),
        }
    }
}

/// Refuses a reader that has missed signals; it goes on from `fresh`.
fn history_gone(fresh: Cursor) -> ApiError {
    let text = "signals after the cursor are no longer kept: go on from the one given here";
    let refusal = Refusal::new(RefusalCode::HistoryGone, text);
    HttpError::Detailed(refusal, json!({ "cursor": fresh })).into()
}

impl From<TokensError> for ApiError {
    fn from(error: TokensError) -> Self {
        Self(match error {
            TokensError::Invalid => HttpError::Unauthorized,
            TokensError::Forbidden => HttpError::token_forbids(),
            TokensError::Unavailable(AskError::Busy) => {
                Refusal::new(RefusalCode::Busy, "too many requests are queued").into()
            }
            // Never 401: the token may well be good, it just cannot be checked now.
            _ => {
                Refusal::new(RefusalCode::Unavailable, "tokens cannot be checked at present").into()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use serde_json::Value;

    use super::*;

    #[actix_web::test]
    async fn a_reader_that_missed_signals_gets_a_fresh_cursor() {
        let fresh = Cursor { epoch: 35, sequence: 7 };
        let error = history_gone(fresh);
        assert_eq!(error.status_code().as_u16(), 409);
        let Ok(body) = to_bytes(error.error_response().into_body()).await else {
            panic!("no body")
        };
        let body: Value = serde_json::from_slice(&body).expect("json");
        assert_eq!((&body["metadata"]["cursor"], &body["type"]), (&json!("z-7"), &json!("error")));
    }

    #[test]
    fn a_token_that_cannot_be_checked_is_not_called_bad() {
        for (error, expected) in [
            (TokensError::Invalid, 401),
            (TokensError::Forbidden, 403),
            (TokensError::NotReady("nats is away".into()), 503),
            (TokensError::Unavailable(AskError::Busy), 503),
        ] {
            assert_eq!(ApiError::from(error).status_code().as_u16(), expected);
        }
    }
}
