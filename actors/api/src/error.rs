use actix_web::http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;
use stream_protocol::{Cursor, Refusal, RefusalCode};
use stream_sessions::SessionsError;
use stream_supervisor::AskError;
use stream_tokens::TokensError;

use crate::response;

/// Why a request is refused, in words for the asker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No token, or one that is not valid; why not is nobody's business.
    #[error("a valid token is needed: Authorization: Macaroon root=TOKEN")]
    Unauthorized,
    #[error("the token does not allow this")]
    Forbidden,

    #[error("no such endpoint")]
    NoSuchEndpoint,
    #[error("the endpoint does not take this method")]
    MethodNotAllowed,
    #[error("the body did not arrive in time")]
    BodyTimeout,
    #[error("there are too many connections from this address")]
    TooManyConnections,
    #[error("there are too many requests with this token")]
    RateLimited,

    /// The reader goes on from the cursor, and has missed something.
    #[error("signals after the cursor are no longer kept: go on from the one given here")]
    HistoryGone(Cursor),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl ApiError {
    pub(crate) fn malformed(text: impl Into<String>) -> Self {
        Refusal::new(RefusalCode::Malformed, text).into()
    }

    pub(crate) fn no_such_session() -> Self {
        Refusal::new(RefusalCode::NotFound, "session not found").into()
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Refusal::new(RefusalCode::TooLarge, format!("the body is larger than {limit} bytes")).into()
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::TooManyConnections | Self::RateLimited => true,
            Self::Refused(refusal) => refusal.code.is_transient(),
            _ => false,
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NoSuchEndpoint => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyConnections | Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::HistoryGone(_) => StatusCode::CONFLICT,
            Self::Refused(refusal) => StatusCode::from_u16(refusal.code.http_status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    fn error_response(&self) -> HttpResponse {
        let (status, text) = (self.status_code(), self.to_string());
        let mut response = match self {
            Self::HistoryGone(fresh) => {
                response::detailed(status, &text, json!({ "cursor": fresh }))
            }
            _ => response::failure(status, &text),
        };
        if matches!(self, Self::TooManyConnections) {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        let headers = response.headers_mut();
        if self.is_transient() {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if matches!(self, Self::Unauthorized) {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Macaroon"));
        }
        response
    }
}

impl From<SessionsError> for ApiError {
    fn from(error: SessionsError) -> Self {
        match error.fresh_cursor() {
            Some(fresh) => Self::HistoryGone(fresh),
            None => Self::Refused(error.refusal()),
        }
    }
}

impl From<TokensError> for ApiError {
    fn from(error: TokensError) -> Self {
        match error {
            TokensError::Invalid => Self::Unauthorized,
            TokensError::Forbidden => Self::Forbidden,
            TokensError::Unavailable(AskError::Busy) => {
                Refusal::new(RefusalCode::Busy, "too many requests are queued").into()
            }
            // Never 401: the token may well be good, it just cannot be checked now.
            _ => {
                Refusal::new(RefusalCode::Unavailable, "tokens cannot be checked at present").into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use serde_json::Value;

    use super::*;

    async fn answered(error: ApiError) -> (u16, Option<String>, Value) {
        let response = error.error_response();
        let retry = response.headers().get(RETRY_AFTER);
        let retry = retry.map(|value| value.to_str().expect("text").to_owned());
        let status = response.status().as_u16();
        let Ok(body) = to_bytes(response.into_body()).await else { panic!("no body") };
        (status, retry, serde_json::from_slice(&body).expect("json"))
    }

    #[actix::test]
    async fn a_refusal_is_told_in_the_envelope() {
        let (status, retry, body) = answered(ApiError::no_such_session()).await;
        assert_eq!((status, retry), (404, None));
        let expected = json!({"type":"error","status":"failed","status_code":404,
            "error":"session not found"});
        assert_eq!(body, expected);
    }

    #[actix::test]
    async fn what_passes_says_when_to_try_again() {
        for (code, status) in
            [(RefusalCode::Unavailable, 503), (RefusalCode::Busy, 503), (RefusalCode::TooMany, 429)]
        {
            let (found, retry, _) = answered(Refusal::new(code, "x").into()).await;
            assert_eq!((found, retry.as_deref()), (status, Some("1")));
        }
    }

    #[actix::test]
    async fn a_reader_that_missed_signals_gets_a_fresh_cursor() {
        let fresh = Cursor { epoch: 35, sequence: 7 };
        let (status, _, body) = answered(ApiError::HistoryGone(fresh)).await;
        assert_eq!((status, &body["metadata"]["cursor"]), (409, &json!("z-7")));
        assert_eq!(body["type"], "error");
    }

    #[actix::test]
    async fn every_kind_of_error_has_its_status() {
        let malformed = ApiError::malformed("x");
        for (error, expected) in [
            (ApiError::Unauthorized, 401),
            (ApiError::Forbidden, 403),
            (ApiError::NoSuchEndpoint, 404),
            (ApiError::MethodNotAllowed, 405),
            (ApiError::BodyTimeout, 408),
            (ApiError::TooManyConnections, 429),
            (ApiError::RateLimited, 429),
            (ApiError::too_large(1), 413),
            (malformed, 400),
            (TokensError::Invalid.into(), 401),
            (TokensError::Forbidden.into(), 403),
            (TokensError::NotReady("nats is away".into()).into(), 503),
            (TokensError::Unavailable(AskError::Busy).into(), 503),
        ] {
            let text = error.to_string();
            assert_eq!(answered(error).await.0, expected, "{text}");
        }
    }
}
