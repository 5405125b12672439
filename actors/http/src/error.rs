//! The one place where a refusal gets its HTTP status.

use std::borrow::Cow;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde_json::Value;
use stream_protocol::{Refusal, RefusalCode};

use crate::response;

/// Seconds after which a client may try again what was refused for the moment.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// A request without success, in words for whoever sent it.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// 401, with one text for all causes: a stranger learns nothing from it.
    #[error("a valid token is needed: Authorization: Macaroon root=TOKEN")]
    Unauthorized,
    /// 403; [`HttpError::token_forbids`] is the usual one.
    #[error("{0}")]
    Forbidden(Cow<'static, str>),
    /// 404 for a path that nothing is served at.
    #[error("no such endpoint")]
    NoSuchEndpoint,
    /// 405, with the methods that the endpoint takes, as they stand in the header `Allow`.
    #[error("the endpoint does not take this method")]
    MethodNotAllowed { allow: String },
    /// 408.
    #[error("the body did not arrive in time")]
    BodyTimeout,
    /// 429.
    #[error("there are too many requests from this address")]
    AddressRateLimited,
    /// 429.
    #[error("there are too many requests with this token")]
    RateLimited,
    /// 409: the state of what was asked for does not allow it; after `retry_after_s` seconds it
    /// may, if that is said. What the client can go on with is `metadata`.
    #[error("{text}")]
    Conflict { text: String, retry_after_s: Option<u64>, metadata: Option<Value> },
    /// A refusal with what the client can go on with, as `metadata`.
    #[error("{0}")]
    Detailed(Refusal, Value),
    /// The status of the refusal's code.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl HttpError {
    /// The token is valid and does not allow what was asked.
    pub fn token_forbids() -> Self {
        Self::forbidden("the token does not allow this")
    }

    /// The state of what was asked for does not allow it, and waiting does not help.
    pub fn conflict(text: impl Into<String>) -> Self {
        Self::Conflict { text: text.into(), retry_after_s: None, metadata: None }
    }

    /// Whoever asks may not have what was asked.
    pub fn forbidden(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Forbidden(text.into())
    }

    /// The request is not what the endpoint takes.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Refusal::new(RefusalCode::Malformed, text).into()
    }

    /// The body has more than `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        Refusal::new(RefusalCode::TooLarge, format!("a body has at most {limit} bytes")).into()
    }

    /// Returns whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::AddressRateLimited | Self::RateLimited => true,
            Self::Detailed(refusal, _) | Self::Refused(refusal) => refusal.code.is_transient(),
            _ => false,
        }
    }
}

impl ResponseError for HttpError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NoSuchEndpoint => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::AddressRateLimited | Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Detailed(refusal, _) | Self::Refused(refusal) => {
                StatusCode::from_u16(refusal.code.http_status())
                    .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    fn error_response(&self) -> HttpResponse {
        let (status, text) = (self.status_code(), self.to_string());
        let metadata = match self {
            Self::Detailed(_, metadata) => Some(metadata),
            Self::Conflict { metadata, .. } => metadata.as_ref(),
            _ => None,
        };
        let mut response = response::failure(status, &text, metadata);
        if self.is_transient() {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        if let Self::Conflict { retry_after_s: Some(seconds), .. } = self {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*seconds));
        }
        if let Self::MethodNotAllowed { allow } = self
            && let Ok(allow) = HeaderValue::from_str(allow)
        {
            response.headers_mut().insert(ALLOW, allow);
        }
        if matches!(self, Self::Unauthorized) {
            let scheme = HeaderValue::from_static("Macaroon");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use actix_web::http::header::CACHE_CONTROL;
    use serde_json::json;

    use super::*;

    async fn answered(error: HttpError) -> (u16, Option<String>, Value) {
        let response = error.error_response();
        assert_eq!(response.headers().get(CACHE_CONTROL).expect("said"), "no-store");
        let retry = response.headers().get(RETRY_AFTER);
        let retry = retry.map(|value| value.to_str().expect("text").to_owned());
        let status = response.status().as_u16();
        let Ok(body) = to_bytes(response.into_body()).await else { panic!("no body") };
        (status, retry, serde_json::from_slice(&body).expect("json"))
    }

    #[actix_web::test]
    async fn a_refusal_is_told_in_the_envelope() {
        let refusal = Refusal::new(RefusalCode::NotFound, "session not found");
        let (status, retry, body) = answered(refusal.into()).await;
        assert_eq!((status, retry), (404, None));
        let expected = json!({"type":"error","status":"failed","status_code":404,
            "error":"session not found"});
        assert_eq!(body, expected);
    }

    #[actix_web::test]
    async fn what_passes_says_when_to_try_again() {
        for (code, status) in
            [(RefusalCode::Unavailable, 503), (RefusalCode::Busy, 503), (RefusalCode::TooMany, 429)]
        {
            let (found, retry, _) = answered(Refusal::new(code, "x").into()).await;
            assert_eq!((found, retry.as_deref()), (status, Some("1")));
        }
    }

    #[actix_web::test]
    async fn what_a_client_can_go_on_with_stands_beside_the_error() {
        let gone = Refusal::new(RefusalCode::HistoryGone, "gone");
        let (status, _, body) = answered(HttpError::Detailed(gone, json!({"cursor": "z-7"}))).await;
        assert_eq!((status, &body["metadata"]["cursor"]), (409, &json!("z-7")));
        assert_eq!((&body["type"], &body["error"]), (&json!("error"), &json!("gone")));
    }

    #[actix_web::test]
    async fn a_conflict_says_when_to_try_again_if_that_helps() {
        let later = HttpError::Conflict {
            text: "x".to_owned(),
            retry_after_s: Some(7),
            metadata: Some(json!({ "free_after_s": 9 })),
        };
        let (status, retry, body) = answered(later).await;
        assert_eq!((status, retry.as_deref()), (409, Some("7")));
        assert_eq!(body["metadata"], json!({ "free_after_s": 9 }));
        let (_, retry, body) = answered(HttpError::conflict("x")).await;
        assert_eq!((retry, body.get("metadata")), (None, None));
    }

    #[actix_web::test]
    async fn every_kind_of_error_has_its_status() {
        for (error, expected) in [
            (HttpError::Unauthorized, 401),
            (HttpError::token_forbids(), 403),
            (HttpError::NoSuchEndpoint, 404),
            (HttpError::MethodNotAllowed { allow: "GET".to_owned() }, 405),
            (HttpError::BodyTimeout, 408),
            (HttpError::AddressRateLimited, 429),
            (HttpError::RateLimited, 429),
            (HttpError::too_large(1), 413),
            (HttpError::bad_request("x"), 400),
        ] {
            let text = error.to_string();
            assert_eq!(answered(error).await.0, expected, "{text}");
        }
    }
}
