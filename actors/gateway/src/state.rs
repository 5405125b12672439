//! What every request may use.

use std::time::{Duration, SystemTime};

use actix_web::HttpRequest;
use actix_web::http::header::HOST;
use actix_web::http::uri::Authority;
use stream_bridge::Bridge;
use stream_metrics::Requests;
use stream_protocol::{Code, Refusal, Role, SessionDocument, TokenKind};
use stream_supervisor::Supervisor;
use stream_tokens::{Mint, Tokens};
use tokio::sync::watch;

use crate::answer::Refused;
use crate::origin::Origins;
use crate::{Config, GatewayError};

const MAX_WORKERS: usize = 64;

/// Shared by all threads that serve requests.
pub(crate) struct State {
    pub(crate) bridge: Bridge,
    pub(crate) tokens: Tokens,
    pub(crate) supervisor: Supervisor,
    /// Counts what is asked of all threads.
    pub(crate) requests: Requests,
    pub(crate) origins: Origins,
    pub(crate) token_in_query: bool,
    /// Turns true when the gateway stops.
    pub(crate) closing: watch::Receiver<bool>,
    socket_base: Option<String>,
    socket_token: Duration,
}

impl Config {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), GatewayError> {
        if !(1..=MAX_WORKERS).contains(&self.workers) || self.socket_token_s == 0 {
            return Err(GatewayError::Config(format!(
                "gateway.workers is between 1 and {MAX_WORKERS}, gateway.socket_token_s at least 1"
            )));
        }
        self.public_url.as_deref().map(socket_base).transpose().map(drop)
    }
}

impl State {
    /// Refuses a configuration that makes no sense.
    pub(crate) fn new(
        config: Config,
        bridge: Bridge,
        tokens: Tokens,
        supervisor: Supervisor,
        closing: watch::Receiver<bool>,
    ) -> Result<Self, GatewayError> {
        config.check()?;
        let socket_base = config.public_url.as_deref().map(socket_base).transpose()?;
        Ok(Self {
            bridge,
            tokens,
            supervisor,
            requests: Requests::default(),
            origins: Origins::new(config.allowed_origins),
            token_in_query: config.allow_token_in_query,
            closing,
            socket_base,
            socket_token: Duration::from_secs(config.socket_token_s),
        })
    }

    /// Returns what the socket addresses in the answer to `request` begin with.
    pub(crate) fn socket_base(&self, request: &HttpRequest) -> Result<String, Refusal> {
        match &self.socket_base {
            Some(base) => Ok(base.clone()),
            None => Ok(format!("wss://{}", host(request)?)),
        }
    }

    /// Returns the address of the client's signaling socket: good for the present generation of
    /// the session, and for a while.
    pub(crate) async fn socket_url(
        &self,
        base: &str,
        document: &SessionDocument,
    ) -> Result<String, Refused> {
        let mint = Mint {
            kind: TokenKind::Socket,
            subject: document.id.to_string(),
            session: Some(document.id.clone()),
            role: Some(Role::Control),
            generation: Some(document.generation),
            expires: Some(SystemTime::now() + self.socket_token),
        };
        let minted = self.tokens.mint(mint).await?;
        let (id, token) = (&document.id, minted.token.as_str());
        Ok(format!("{base}/1.0/sessions/{id}/sockets/slave?token={token}"))
    }
}

/// Returns the host as the client wrote it. What a proxy says about it counts only when the
/// operator says so with `public_url`.
fn host(request: &HttpRequest) -> Result<Authority, Refusal> {
    let header = request.headers().get(HOST).map(|value| value.as_bytes());
    let named = match header {
        Some(bytes) => Authority::try_from(bytes).ok(),
        None => request.uri().authority().cloned(),
    };
    named
        .filter(|host| !host.as_str().contains('@'))
        .ok_or_else(|| Refusal::new(Code::Malformed, "the request names no host"))
}

fn socket_base(public_url: &str) -> Result<String, GatewayError> {
    let address = public_url.strip_prefix("https://").or(public_url.strip_prefix("wss://"));
    match address.map(|address| address.trim_end_matches('/')) {
        Some(address) if !address.is_empty() && !address.contains(['?', '#', ' ', '@']) => {
            Ok(format!("wss://{address}"))
        }
        _ => Err(GatewayError::Config(
            "gateway: public_url is an address such as https://stream.example.com".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_public_address_becomes_a_socket_address() {
        assert_eq!(socket_base("https://a.example:4000/").unwrap(), "wss://a.example:4000");
        assert_eq!(socket_base("https://a.example/stream").unwrap(), "wss://a.example/stream");
        for wrong in ["", "a.example", "http://a.example", "https://", "https://a.example/?x=1"] {
            assert!(socket_base(wrong).is_err(), "{wrong} passed");
        }
    }

    #[test]
    fn without_one_the_client_is_sent_where_it_came_from() {
        let named = |host: &'static str| {
            host_text(&TestRequest::default().insert_header((HOST, host)).to_http_request())
        };
        assert_eq!(named("localhost:4000").as_deref(), Some("localhost:4000"));
        assert_eq!(named("evil.example/path?"), None);
        assert_eq!(named("user@evil.example"), None);
        assert_eq!(named(""), None);
    }

    fn host_text(request: &HttpRequest) -> Option<String> {
        host(request).ok().map(|host| host.to_string())
    }
}
