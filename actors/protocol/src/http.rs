//! The [envelope](crate::manual::wire#envelope-and-refusals) of both HTTPS APIs.

use serde::Serialize;

/// The envelope of every answer that is no refusal:
/// `{"type":"sync","status":"success","status_code":200,"metadata":…}`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Success"))]
pub struct Success<T> {
    #[serde(rename = "type")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = Self::KIND)))]
    kind: &'static str,
    #[cfg_attr(feature = "schema", schemars(extend("const" = Self::STATUS)))]
    status: &'static str,
    #[cfg_attr(feature = "schema", schemars(range(min = 200, max = 299)))]
    status_code: u16,
    metadata: T,
    /// Of a list: how many entries there are without limit and offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "usize"))]
    total_size: Option<usize>,
}

impl<T> Success<T> {
    const KIND: &'static str = "sync";
    const STATUS: &'static str = "success";

    pub fn new(status_code: u16, metadata: T) -> Self {
        Self { kind: Self::KIND, status: Self::STATUS, status_code, metadata, total_size: None }
    }

    /// A list that may be a part of `total_size` entries.
    pub fn list(metadata: T, total_size: usize) -> Self {
        Self { total_size: Some(total_size), ..Self::new(200, metadata) }
    }
}

/// The envelope of every refusal:
/// `{"type":"error","status":"failed","status_code":404,"error":"…"}`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Failure<'a> {
    #[serde(rename = "type")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = Self::KIND)))]
    kind: &'static str,
    #[cfg_attr(feature = "schema", schemars(extend("const" = Self::STATUS)))]
    status: &'static str,
    #[cfg_attr(feature = "schema", schemars(range(min = 400, max = 599)))]
    status_code: u16,
    /// A sentence for people.
    error: &'a str,
}

impl<'a> Failure<'a> {
    const KIND: &'static str = "error";
    const STATUS: &'static str = "failed";

    pub fn new(status_code: u16, error: &'a str) -> Self {
        Self { kind: Self::KIND, status: Self::STATUS, status_code, error }
    }
}
