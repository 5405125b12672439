//! The [envelope](stream_protocol::manual::wire#ams-envelope) of requests and answers of AMS.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::{StatusCode, header};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::error::ApiError;
use super::operations::Operation;

/// How long a client may take to send the body of its request.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// How long a client may take to send an upload; the Go client gives up at the same time.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(300);

/// Answers 200 with `metadata`.
pub(crate) fn sync(metadata: impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(success(json!(metadata)))
}

/// Answers 202 with a synchronous body: what was asked is under way and has no operation.
pub(crate) fn under_way() -> HttpResponse {
    HttpResponse::Accepted().json(success(json!({})))
}

/// Which part of a list is wanted, and in which form.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Listing {
    pub(crate) recursion: u8,
    /// 0 is no limit.
    limit: usize,
    offset: usize,
}

/// Answers 200 with `items`, or with their URLs when no recursion is asked for.
pub(crate) fn list<T: Serialize>(
    items: &[T],
    listing: Listing,
    url: impl Fn(&T) -> String,
) -> HttpResponse {
    let Listing { recursion, limit, offset } = listing;
    let limit = if limit == 0 { items.len() } else { limit };
    let page = items.iter().skip(offset).take(limit);
    let metadata = match recursion {
        0 => json!(page.map(url).collect::<Vec<_>>()),
        _ => json!(page.collect::<Vec<_>>()),
    };
    let mut body = success(metadata);
    body["total_size"] = json!(items.len());
    HttpResponse::Ok().json(body)
}

/// Answers 202 with an operation and where to ask for it.
pub(crate) fn accepted(operation: &Operation) -> HttpResponse {
    let url = operation.url();
    HttpResponse::Accepted().insert_header((header::LOCATION, url.clone())).json(json!({
        "type": "async", "status": "Operation created", "status_code": 100,
        "operation": url, "metadata": operation,
    }))
}

fn success(metadata: Value) -> Value {
    json!({
        "type": "sync", "status": "Success", "status_code": 200, "error_code": 0,
        "metadata": metadata,
    })
}

/// A JSON body, whatever its content type says; an empty one counts as `{}`.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest for Body<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = received(request, payload, BODY_DEADLINE);
        Box::pin(async move {
            let bytes = bytes.await?;
            let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
            serde_json::from_slice(text).map(Self).map_err(|_| ApiError::Invalid("body"))
        })
    }
}

/// A body of any kind, for which a client has the time of an upload.
pub(crate) struct Upload(pub(crate) Bytes);

impl FromRequest for Upload {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = received(request, payload, UPLOAD_DEADLINE);
        Box::pin(async move { bytes.await.map(Self) })
    }
}

fn received(
    request: &HttpRequest,
    payload: &mut Payload,
    within: Duration,
) -> impl Future<Output = Result<Bytes, ApiError>> + use<> {
    let bytes = Bytes::from_request(request, payload);
    async move {
        let bytes = timeout(within, bytes).await.map_err(|_| ApiError::TimedOut("body"))?;
        bytes.map_err(|error| match error.as_response_error().status_code() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge,
            _ => ApiError::Invalid("body"),
        })
    }
}

/// Reads a value that Go clients send as `null` when it is not given.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
