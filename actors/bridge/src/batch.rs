//! Fetching many stored messages with one request: JetStream's batched direct get, which the
//! client library does not have (server 2.11, ADR-31).

use async_nats::{Client, HeaderMap, Message, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::BridgeError;
use crate::connection::with_timeout;

/// How many messages one request fetches.
const MAX_MESSAGES: usize = 256;
/// How many bytes one request fetches, so that large signals do not pile up in memory.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Status 204, which the client library has no name for.
fn is_end_of_batch(status: StatusCode) -> bool {
    status.as_u16() == 204
}

#[derive(Serialize)]
struct BatchRequest<'a> {
    seq: u64,
    next_by_subj: &'a str,
    batch: usize,
    max_bytes: usize,
}

pub(crate) struct StoredMessage {
    pub(crate) sequence: u64,
    pub(crate) subject: String,
    pub(crate) payload: Bytes,
    /// Whether it only says that something was removed.
    pub(crate) is_delete_marker: bool,
    pub(crate) stored_at: Option<OffsetDateTime>,
}

pub(crate) struct Batch {
    pub(crate) messages: Vec<StoredMessage>,
    /// Whether there is no further message now.
    pub(crate) complete: bool,
}

#[derive(Serialize)]
struct LastRequest<'a> {
    seq: u64,
    multi_last: &'a [&'a str],
    max_bytes: usize,
}

/// Returns messages of `stream` whose subject matches `filter`, from sequence `from` on.
pub(crate) async fn get(
    client: &Client,
    stream: &str,
    filter: &str,
    from: u64,
) -> Result<Batch, BridgeError> {
    let request =
        BatchRequest { seq: from, next_by_subj: filter, batch: MAX_MESSAGES, max_bytes: MAX_BYTES };
    ask(client, stream, &request).await
}

/// Returns the last message of each of `subjects` in `stream` whose sequence is `from` or more.
pub(crate) async fn get_last(
    client: &Client,
    stream: &str,
    subjects: &[&str],
    from: u64,
) -> Result<Batch, BridgeError> {
    let request = LastRequest { seq: from, multi_last: subjects, max_bytes: MAX_BYTES };
    ask(client, stream, &request).await
}

async fn ask(
    client: &Client,
    stream: &str,
    request: &impl Serialize,
) -> Result<Batch, BridgeError> {
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.map_err(BridgeError::disconnected)?;
    let request = serde_json::to_vec(request).expect("a request serializes");
    let subject = format!("$JS.API.DIRECT.GET.{stream}");
    let asked = client.publish_with_reply(subject, inbox, request.into()).await;
    asked.map_err(BridgeError::disconnected)?;

    let mut messages = Vec::new();
    loop {
        let Some(answer) = with_timeout(replies.next()).await? else {
            return Err(BridgeError::Disconnected("the connection ended in an answer".into()));
        };
        match read(answer, stream)? {
            Part::Message(message) => messages.push(message),
            Part::End { complete } => return Ok(Batch { messages, complete }),
        }
    }
}

/// One of the messages that answer a request.
pub(crate) enum Part {
    Message(StoredMessage),
    End { complete: bool },
}

/// Reads one of the messages with which `stream` answers a request.
pub(crate) fn read(answer: Message, stream: &str) -> Result<Part, BridgeError> {
    let headers = answer.headers.as_ref();
    match answer.status {
        None => {}
        Some(status) if is_end_of_batch(status) => {
            let pending: u64 = header_u64(headers, "Nats-Num-Pending").unwrap_or(0);
            return Ok(Part::End { complete: pending == 0 });
        }
        Some(StatusCode::NOT_FOUND) => return Ok(Part::End { complete: true }),
        Some(StatusCode::NO_RESPONDERS) => {
            return Err(BridgeError::Disconnected(format!("stream {stream} is away")));
        }
        Some(other) => {
            let why = answer.description.as_deref().unwrap_or("no reason given");
            let text = format!("stream {stream} answers {other}: {why}");
            return Err(BridgeError::Disconnected(text));
        }
    }
    let subject = headers.and_then(|headers| headers.get("Nats-Subject"));
    let (Some(sequence), Some(subject)) = (header_u64(headers, "Nats-Sequence"), subject) else {
        return Err(BridgeError::Malformed(format!("an answer of stream {stream}")));
    };
    let stored_at = headers.and_then(|headers| headers.get("Nats-Time-Stamp"));
    Ok(Part::Message(StoredMessage {
        sequence,
        subject: subject.as_str().to_owned(),
        is_delete_marker: headers.is_some_and(is_delete_marker),
        stored_at: stored_at.and_then(|at| OffsetDateTime::parse(at.as_str(), &Rfc3339).ok()),
        payload: answer.payload,
    }))
}

/// Whether a message with these headers only says that something was removed.
pub(crate) fn is_delete_marker(headers: &HeaderMap) -> bool {
    headers.get("KV-Operation").is_some() || headers.get("Nats-Marker-Reason").is_some()
}

pub(crate) fn header_u64(headers: Option<&HeaderMap>, name: &str) -> Option<u64> {
    headers?.get(name)?.as_str().parse().ok()
}
