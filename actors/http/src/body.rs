//! Bodies of requests: of bounded size, within a bounded time, whatever their content type says.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap};
use actix_web::web::{Bytes, Payload};
use futures_util::{Stream, StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;
use stream_protocol::{FromObject, Refusal, RefusalCode};

use crate::error::HttpError;

/// The time a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the body of `request`, at most `limit` bytes.
///
/// # Errors
///
/// 413 when it is larger, before it is read if the request says so itself; 408 when it has not
/// arrived after 10 seconds; 400 when it breaks off.
///
/// # Cancel safety
///
/// Not cancel safe: what was read is lost.
pub async fn read_body(
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<Vec<u8>, HttpError> {
    if content_length(request.headers()).is_some_and(|length| length > limit as u64) {
        return Err(HttpError::too_large(limit));
    }
    collect(payload, limit, BODY_TIMEOUT).await
}

/// Returns the length of the body as the request states it, in bytes.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn collect(
    chunks: impl Stream<Item = Result<Bytes, PayloadError>>,
    limit: usize,
    timeout: Duration,
) -> Result<Vec<u8>, HttpError> {
    let body = chunks
        .map(|chunk| chunk.map_err(|_| HttpError::bad_request("the body is cut off")))
        .try_fold(Vec::new(), async |mut body, chunk| {
            if body.len() + chunk.len() > limit {
                return Err(HttpError::too_large(limit));
            }
            body.extend_from_slice(&chunk);
            Ok(body)
        });
    tokio::time::timeout(timeout, body).await.unwrap_or(Err(HttpError::BodyTimeout))
}

/// Returns `body` without the mark that some editors and shells put before a text in UTF-8. A
/// reader of JSON may ignore it (RFC 8259, section 8.1).
pub fn without_byte_order_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Reads an object of JSON.
///
/// # Errors
///
/// 400, with the place of the error and `expected`. The body is never quoted: it may hold secrets,
/// and messages end up in logs.
pub fn parse_json<T: DeserializeOwned>(body: &[u8], expected: &str) -> Result<T, HttpError> {
    parse::<FromObject<T>>(body, expected).map(|FromObject(read)| read)
}

/// Reads an array of objects.
///
/// # Errors
///
/// As [`parse_json`].
pub fn parse_json_list<T: DeserializeOwned>(
    body: &[u8],
    expected: &str,
) -> Result<Vec<T>, HttpError> {
    let read: Vec<FromObject<T>> = parse(body, expected)?;
    Ok(read.into_iter().map(|FromObject(read)| read).collect())
}

fn parse<T: DeserializeOwned>(body: &[u8], expected: &str) -> Result<T, HttpError> {
    serde_json::from_slice(without_byte_order_mark(body)).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "not what is expected",
            _ => "not JSON",
        };
        let (line, column) = (error.line(), error.column());
        let text = format!("the body is {what} at {line}:{column}; expected {expected}");
        Refusal::new(RefusalCode::Malformed, text).into()
    })
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;
    use futures_util::stream;
    use stream_protocol::Report;

    use super::*;

    async fn collected(sizes: &[usize], limit: usize) -> Result<usize, u16> {
        let chunks = sizes.iter().map(|size| Ok(Bytes::from(vec![b'x'; *size])));
        let body = collect(stream::iter(chunks.collect::<Vec<_>>()), limit, BODY_TIMEOUT).await;
        body.map(|body| body.len()).map_err(|error| error.status_code().as_u16())
    }

    #[actix_web::test]
    async fn a_body_is_read_up_to_its_bound() {
        assert_eq!(collected(&[], 8).await, Ok(0));
        assert_eq!(collected(&[4, 4], 8).await, Ok(8));
        assert_eq!(collected(&[4, 4, 1], 8).await, Err(413));
        assert_eq!(collected(&[usize::from(u16::MAX)], 8).await, Err(413));
    }

    #[actix_web::test]
    async fn a_body_that_breaks_off_is_malformed() {
        let chunks =
            stream::iter([Ok(Bytes::from_static(b"{")), Err(PayloadError::Incomplete(None))]);
        let error = collect(chunks, 8, BODY_TIMEOUT).await.expect_err("it broke off");
        assert_eq!(error.status_code().as_u16(), 400);
    }

    #[actix_web::test]
    async fn a_body_that_never_comes_is_given_up() {
        let error = collect(stream::pending(), 8, Duration::ZERO).await.expect_err("nothing came");
        assert_eq!(error.status_code().as_u16(), 408);
    }

    #[test]
    fn what_is_wrong_in_a_body_is_told_without_quoting_it() {
        let read = |body: &str| parse_json::<Report>(body.as_bytes(), "a report");
        assert!(read(r#"{"status":"running"}"#).is_ok());
        assert!(read("\u{feff}{\"status\":\"running\"}").is_ok(), "with a byte order mark");
        for body in [r#"{"status":"secret"}"#, r#"{"status":"running" secret"#, "secret", ""] {
            let error = read(body).expect_err("it is no report");
            let text = error.to_string();
            assert!(!text.contains("secret") && text.contains("a report"), "{text}");
            assert_eq!(error.status_code().as_u16(), 400);
        }
    }
}
