//! A thin HTTPS client of the two APIs: pinned certificates, macaroon, envelope, deadlines.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, redirect};
use rustls::ClientConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use stream_pki::{PkiError, Trust, client_config, is_pin_mismatch};

use crate::websocket::{self, SocketError, WebSocket};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// More than a full page of the largest signals.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{0:?} is not an https URL")]
    Address(String),
    #[error("the token does not fit into a header")]
    Token,
    #[error("no TLS configuration")]
    Tls(#[from] PkiError),
    #[error("the server's certificate is not the pinned one")]
    NotPinned,
    #[error("no answer")]
    Unreachable(#[source] reqwest::Error),
    #[error("the socket did not open")]
    NotOpened(#[source] SocketError),
    /// It was open; `retry_after` is when the server wants to be called again.
    #[error("the socket is closed: {message}")]
    Closed { message: String, retry_after: Option<Duration> },
    /// The server said no; `retry_after` is when it wants to be asked again.
    #[error("refused with code {status}: {message}")]
    Refused { status: u16, retry_after: Option<Duration>, message: String },
    #[error("the answer is not what the API promises")]
    Malformed(#[source] serde_json::Error),
    #[error("the answer is larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
}

impl CallError {
    /// The HTTP code of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// How long the server wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } | Self::Closed { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        !matches!(self.status(), Some(status) if status < 500 && status != 408 && status != 429)
    }
}

impl From<reqwest::Error> for CallError {
    fn from(error: reqwest::Error) -> Self {
        if is_pin_mismatch(&error) {
            return Self::NotPinned;
        }
        // Queries are never logged.
        Self::Unreachable(error.without_url())
    }
}

impl From<SocketError> for CallError {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Connect(error) if is_pin_mismatch(&error) => Self::NotPinned,
            SocketError::Refused(status) => {
                let words = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
                let message = words.unwrap_or("no reason given").to_owned();
                Self::Refused { status, retry_after: None, message }
            }
            error => Self::NotOpened(error),
        }
    }
}

pub(crate) struct Https {
    client: reqwest::Client,
    tls: Arc<ClientConfig>,
    base: String,
    /// None where the URL holds the token.
    authorization: Option<HeaderValue>,
}

impl Https {
    /// Returns a client of the server at `base` that shows `token`, and shows it only to a server
    /// of `trust`, whether over requests or over a socket.
    pub(crate) fn new(base: &str, token: &str, trust: &Trust) -> Result<Self, CallError> {
        let mut authorization = HeaderValue::try_from(format!("Macaroon root={token}"))
            .map_err(|_| CallError::Token)?;
        authorization.set_sensitive(true);
        Self::of(base, Some(authorization), trust)
    }

    /// Returns a client of the server at `base` that shows no token.
    pub(crate) fn without_token(base: &str, trust: &Trust) -> Result<Self, CallError> {
        Self::of(base, None, trust)
    }

    fn of(
        base: &str,
        authorization: Option<HeaderValue>,
        trust: &Trust,
    ) -> Result<Self, CallError> {
        let url = Url::parse(base).ok().filter(|url| url.scheme() == "https" && url.has_host());
        if url.is_none() {
            return Err(CallError::Address(base.to_owned()));
        }
        let tls = client_config(trust, None)?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .https_only(true)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { client, tls: Arc::new(tls), base, authorization })
    }

    /// Opens the WebSocket at `path`, for messages of at most `limit` bytes.
    pub(crate) async fn open(&self, path: &str, limit: usize) -> Result<WebSocket, CallError> {
        let url = format!("wss{}{path}", self.base.trim_start_matches("https"));
        let tls = Arc::clone(&self.tls);
        Ok(websocket::open(&url, tls, self.authorization.as_ref(), limit).await?)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.base);
        let request = self.client.request(method, url);
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization.clone()),
            None => request,
        }
    }

    /// Sends `request` and returns the metadata of the answer, all `within` the given time.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        within: Duration,
    ) -> Result<T, CallError> {
        #[derive(Deserialize)]
        struct Envelope<T> {
            metadata: T,
        }
        let bytes = self.exchange(request, within).await?;
        let envelope = serde_json::from_slice::<Envelope<T>>(&bytes);
        Ok(envelope.map_err(CallError::Malformed)?.metadata)
    }

    /// Sends `request` and returns the answer as a text, all `within` the given time.
    pub(crate) async fn text(
        &self,
        request: RequestBuilder,
        within: Duration,
    ) -> Result<String, CallError> {
        let bytes = self.exchange(request, within).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sends `request` and drops the answer, all `within` the given time.
    pub(crate) async fn send(
        &self,
        request: RequestBuilder,
        within: Duration,
    ) -> Result<(), CallError> {
        self.exchange(request, within).await.map(|_| ())
    }

    async fn exchange(
        &self,
        request: RequestBuilder,
        within: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let mut answer = request.timeout(within).send().await?;
        let status = answer.status();
        let retry_after = retry_after(&answer);
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(CallError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(body);
        }
        Err(CallError::Refused {
            status: status.as_u16(),
            retry_after,
            message: reason(&body, status),
        })
    }
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What the envelope of a failure says, or the words for its code.
fn reason(body: &[u8], status: StatusCode) -> String {
    #[derive(Deserialize)]
    struct Failure {
        error: String,
    }
    serde_json::from_slice(body)
        .map(|Failure { error }| error)
        .unwrap_or_else(|_| status.canonical_reason().unwrap_or("no reason given").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> CallError {
        CallError::Refused { status, retry_after: None, message: String::new() }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for status in [408, 429, 500, 502, 503] {
            assert!(refused(status).is_transient(), "{status}");
        }
        for status in [400, 401, 403, 404, 409, 413] {
            assert!(!refused(status).is_transient(), "{status}");
        }
        assert!(CallError::NotPinned.is_transient(), "certificates change");
    }

    #[test]
    fn a_plain_http_address_is_refused_before_the_token_is_sent() {
        for base in ["http://127.0.0.1:1", "127.0.0.1:1", "wss://x", ""] {
            assert!(
                matches!(
                    Https::new(base, "t", &Trust::Pins(Vec::new())),
                    Err(CallError::Address(_))
                ),
                "{base}"
            );
        }
    }

    #[test]
    fn a_refusal_says_why() {
        let body = br#"{"type":"error","error":"session not found"}"#;
        assert_eq!(reason(body, StatusCode::NOT_FOUND), "session not found");
        assert_eq!(reason(b"<html>", StatusCode::NOT_FOUND), "Not Found");
    }
}
