//! What every request may use.

use std::time::{Duration, SystemTime};

use actix_web::HttpRequest;
use actix_web::http::header::HOST;
use actix_web::http::uri::Authority;
use stream_admin::Drain;
use stream_bridge::Bridge;
use stream_metrics::HttpMetrics;
use stream_protocol::{Code, Refusal, SessionDocument, TokenKind};
use stream_supervisor::Supervisor;
use stream_tokens::{Mint, Tokens, socket_of_account};
use tokio::sync::watch;

use crate::auth::Caller;
use crate::cors::CorsPolicy;
use crate::response::HttpError;
use crate::socket::OpenSockets;
use crate::{Config, GatewayError, clock};

const MAX_WORKERS: usize = 64;

/// Addresses end up in logs: what opens a socket there is good for minutes.
const MAX_SOCKET_TOKEN_S: u64 = 300;

/// Shared by all threads that serve requests.
pub(crate) struct State {
    pub(crate) bridge: Bridge,
    pub(crate) tokens: Tokens,
    pub(crate) supervisor: Supervisor,
    /// Counts what is asked of all threads.
    pub(crate) requests: HttpMetrics,
    pub(crate) cors: CorsPolicy,
    pub(crate) token_in_query: bool,
    /// Turns true when the gateway stops.
    pub(crate) closing: watch::Receiver<bool>,
    /// Whether it is about to.
    pub(crate) drain: Drain,
    /// The open sockets of clients.
    pub(crate) open_sockets: OpenSockets,
    pub(crate) reconnect_tokens: ReconnectTokens,
    /// How long a client without a socket may take to return.
    pub(crate) client_grace: Duration,
    socket_base: Option<String>,
}

/// The tokens that open sockets again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ReconnectTokens {
    /// Between two of them.
    pub(crate) interval: Duration,
    /// How long one is good.
    pub(crate) ttl: Duration,
}

impl ReconnectTokens {
    fn of(config: &Config) -> Self {
        let ttl = Duration::from_secs(config.socket_token_s);
        Self { interval: Duration::from_secs(config.reconnect_token_s).min(ttl / 2), ttl }
    }

    /// Returns when a token ends that is made now.
    pub(crate) fn expiry(&self) -> SystemTime {
        SystemTime::now() + self.ttl
    }
}

impl Config {
    /// Returns what the page's address begins with, as far as the configuration says.
    pub fn page_base(&self) -> Option<String> {
        self.public_url.as_deref().and_then(|url| socket_base(url).ok()).as_deref().map(page_base)
    }

    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), GatewayError> {
        if !(1..=MAX_WORKERS).contains(&self.workers) {
            let sentence = format!("gateway.workers is between 1 and {MAX_WORKERS}");
            return Err(GatewayError::Config(sentence));
        }
        if !(1..=MAX_SOCKET_TOKEN_S).contains(&self.socket_token_s) || self.reconnect_token_s == 0 {
            return Err(GatewayError::Config(format!(
                "gateway.socket_token_s is between 1 and {MAX_SOCKET_TOKEN_S}, \
                 gateway.reconnect_token_s at least 1"
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
        drain: Drain,
        open_sockets: OpenSockets,
    ) -> Result<Self, GatewayError> {
        config.check()?;
        let socket_base = config.public_url.as_deref().map(socket_base).transpose()?;
        let reconnect_tokens = ReconnectTokens::of(&config);
        Ok(Self {
            bridge,
            tokens,
            supervisor,
            requests: HttpMetrics::default(),
            cors: CorsPolicy::new(config.allowed_origins),
            token_in_query: config.allow_token_in_query,
            closing,
            drain,
            open_sockets,
            client_grace: Duration::from_secs(config.client_grace_s),
            reconnect_tokens,
            socket_base,
        })
    }

    /// Returns what the socket addresses in the answer to `request` begin with.
    pub(crate) fn socket_base(&self, request: &HttpRequest) -> Result<String, Refusal> {
        match &self.socket_base {
            Some(base) => Ok(base.clone()),
            None => Ok(format!("wss://{}", host(request)?)),
        }
    }

    /// Returns what the page's address begins with, in the answer to `request`.
    pub(crate) fn page_base(&self, request: &HttpRequest) -> Result<String, Refusal> {
        Ok(page_base(&self.socket_base(request)?))
    }

    /// Returns the address of the client's signaling socket: good for the present generation of
    /// the session, and for a while, but not longer than what `caller` came with. What revokes
    /// that revokes the socket's token too.
    pub(crate) async fn socket_url(
        &self,
        base: &str,
        document: &SessionDocument,
        caller: &Caller,
    ) -> Result<String, HttpError> {
        let (subject, came_with) = match &caller.share {
            Some(share) => (share.id.to_string(), &share.token_id),
            None => (socket_of_account(&caller.name), &caller.claims.id),
        };
        let mint = Mint {
            kind: TokenKind::Socket,
            subject,
            session: Some(document.id.clone()),
            role: Some(caller.role()?),
            generation: Some(document.generation),
            expires: Some(self.reconnect_tokens.expiry().min(clock::moment(caller.end()))),
        };
        let minted = self.tokens.mint_with_id(came_with, mint).await?;
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

fn page_base(socket_base: &str) -> String {
    socket_base.replacen("wss://", "https://", 1)
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
    fn a_reconnect_token_is_fresh_twice_in_its_life_whatever_is_configured() {
        let reconnect_tokens = |socket_token_s, reconnect_token_s| {
            ReconnectTokens::of(&Config { socket_token_s, reconnect_token_s, ..Config::default() })
                .interval
                .as_secs()
        };
        assert_eq!(
            (reconnect_tokens(300, 60), reconnect_tokens(300, 600), reconnect_tokens(10, 60)),
            (60, 150, 5)
        );
        for (socket_token_s, reconnect_token_s) in [(0, 60), (301, 60), (300, 0)] {
            let config = Config { socket_token_s, reconnect_token_s, ..Config::default() };
            assert!(config.check().is_err(), "{socket_token_s} {reconnect_token_s} passed");
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
