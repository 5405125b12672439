//! Responses in the envelope of both services. No cache on the way may keep one: many hold tokens
//! or relay passwords.

use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;
use stream_protocol::{Failure, Success};

/// A failure with what its client can go on with.
#[derive(Serialize)]
#[cfg_attr(
    any(test, feature = "schema"),
    derive(schemars::JsonSchema),
    schemars(rename = "Failure", description = "The envelope of every refusal")
)]
pub(crate) struct Detailed<'a, T> {
    #[serde(flatten)]
    failure: Failure<'a>,
    /// What the asker can go on with, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<T>,
}

/// Answers 200 with `metadata`.
pub fn ok(metadata: impl Serialize) -> HttpResponse {
    build(StatusCode::OK).json(Success::new(200, metadata))
}

/// Answers 200 with a part of `total_size` entries.
pub fn list(metadata: impl Serialize, total_size: usize) -> HttpResponse {
    build(StatusCode::OK).json(Success::list(metadata, total_size))
}

/// Answers 201 with `metadata`.
pub fn created(metadata: impl Serialize) -> HttpResponse {
    build(StatusCode::CREATED).json(Success::new(201, metadata))
}

/// Answers `status`, one of success, with `metadata`.
pub fn with_status(status: u16, metadata: impl Serialize) -> HttpResponse {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    build(code).json(Success::new(status, metadata))
}

/// Answers 202, to a client that does not wait for the end.
pub fn accepted() -> HttpResponse {
    build(StatusCode::ACCEPTED).json(Success::new(202, ()))
}

/// Answers `status` with `error` and, if there is any, `metadata` beside it.
pub fn failure(status: StatusCode, error: &str, metadata: Option<impl Serialize>) -> HttpResponse {
    let failure = Failure::new(status.as_u16(), error);
    build(status).json(Detailed { failure, metadata })
}

fn build(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((CACHE_CONTROL, "no-store"));
    response
}
