//! Refusals of AMS, in its own words.

use actix_web::body::BoxBody;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

/// Why AMS does not do what it is asked, in its own words.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("too busy")]
    Busy,
    #[error("internal error")]
    Broken,
    #[error("{0} already exists")]
    Exists(&'static str),
    #[error("no node has room for another instance")]
    Full,
    #[error("argument {0} is invalid")]
    Invalid(&'static str),
    #[error("{0} not allowed")]
    NotAllowed(&'static str),
    #[error("{0} not found")]
    NotFound(&'static str),
    #[error("{0} not supported")]
    NotSupported(&'static str),
    #[error("{0} timed out")]
    TimedOut(&'static str),
    #[error("too many requests")]
    Throttled,
    #[error("request too large")]
    TooLarge,
    #[error("not authorized")]
    Untrusted,
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Exists(_) => StatusCode::CONFLICT,
            Self::Busy | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::Invalid(_) | Self::NotAllowed(_) | Self::NotSupported(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::TimedOut(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Throttled => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Untrusted => StatusCode::FORBIDDEN,
        }
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let code = self.status_code();
        let error = self.to_string();
        let mut response = HttpResponse::build(code);
        if matches!(self, Self::Busy | Self::Throttled) {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
        response.json(json!({
            "type": "error", "error": error, "error_code": code.as_u16(),
        }))
    }
}
