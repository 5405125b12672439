//! What answers look like.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use serde::Serialize;
use stream_protocol::{Failure, Success};

/// A failure that carries something the asker can go on with.
#[derive(Serialize)]
struct Detailed<'a, T> {
    #[serde(flatten)]
    failure: Failure<'a>,
    metadata: T,
}

/// Answers 200 with `metadata`.
pub(crate) fn ok(metadata: impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(Success::new(200, metadata))
}

/// Answers 201 with `metadata` that nobody on the way may keep.
pub(crate) fn created_no_store(metadata: impl Serialize) -> HttpResponse {
    let mut response = HttpResponse::Created();
    response.insert_header((CACHE_CONTROL, "no-store")).json(Success::new(201, metadata))
}

/// Answers `status` with `error`.
pub(crate) fn failure(status: StatusCode, error: &str) -> HttpResponse {
    HttpResponse::build(status).json(Failure::new(status.as_u16(), error))
}

/// Answers `status` with `error` and, beside it, `metadata`.
pub(crate) fn detailed(status: StatusCode, error: &str, metadata: impl Serialize) -> HttpResponse {
    let failure = Failure::new(status.as_u16(), error);
    HttpResponse::build(status).json(Detailed { failure, metadata })
}
