//! The [envelope](crate::manual::wire#envelope-and-refusals) of both HTTPS APIs.

use serde::Serialize;

/// A success: `{"type":"sync","status":"success","status_code":200,"metadata":…}`.
#[derive(Debug, Serialize)]
pub struct Success<T> {
    #[serde(rename = "type")]
    kind: &'static str,
    status: &'static str,
    status_code: u16,
    metadata: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_size: Option<usize>,
}

impl<T> Success<T> {
    pub fn new(status_code: u16, metadata: T) -> Self {
        Self { kind: "sync", status: "success", status_code, metadata, total_size: None }
    }

    /// A list that may be a part of `total_size` entries.
    pub fn list(metadata: T, total_size: usize) -> Self {
        Self { total_size: Some(total_size), ..Self::new(200, metadata) }
    }
}

/// A failure: `{"type":"error","status":"failed","status_code":404,"error":"…"}`.
#[derive(Debug, Serialize)]
pub struct Failure<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    status: &'static str,
    status_code: u16,
    error: &'a str,
}

impl<'a> Failure<'a> {
    pub fn new(status_code: u16, error: &'a str) -> Self {
        Self { kind: "error", status: "failed", status_code, error }
    }
}
