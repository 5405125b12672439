//! The client side of the stack: the HTTPS API, the client's signaling socket, service accounts
//! and the page at `/`.
//!
//! Asked by browsers and other clients over HTTPS and WSS, and by the operator over a UNIX socket
//! ([`admin`]). Asks `bridge` for documents, signals and the agents, and `tokens` for what a
//! token allows. It keeps nothing of its own: every unit serves every session.
//!
//! Two actors. `gateway` keeps the HTTPS server running: a failure of the actor leaves the server
//! alone, and after a failure of the server the next one takes the clients that wait meanwhile.
//! `admin` answers on the operator's socket; what it has in hand outlives a failure too.

mod accounts;
pub mod admin;
mod agents;
mod answer;
mod caller;
mod catalog;
mod clock;
mod documents;
mod error;
mod hints;
mod origin;
mod page;
mod routes;
mod server;
mod sessions;
mod socket;
mod state;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use serde::Deserialize;
use stream_bridge::Bridge;
use stream_pki::ServedIdentity;
use stream_supervisor::Supervisor;
use stream_tokens::Tokens;
use tokio::sync::watch;

pub use error::GatewayError;

/// What the operator decides about the gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where HTTPS is served. Default `0.0.0.0:4000`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// The address that clients use, such as `https://stream.example.com`: the base of socket
    /// addresses. Default: the host that the client's own request names.
    #[serde(default)]
    pub public_url: Option<String>,
    /// Threads that serve requests. Default 2.
    #[serde(default = "default_workers")]
    pub workers: usize,
    /// The operator's UNIX socket. Its directory is made when it is missing and must be closed to
    /// others (mode 0700).
    pub admin_socket: PathBuf,
    /// How long the token in a socket address is valid, in seconds. Default 300.
    #[serde(default = "default_socket_token_s")]
    pub socket_token_s: u64,
    /// Origins of web pages elsewhere that may call the API, such as `https://app.example.com`;
    /// `*` is any. Default: none.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    /// Whether `api_token=` in the query is taken like the header. Off by default, since addresses
    /// end up in the logs of whatever stands between.
    #[serde(default)]
    pub allow_token_in_query: bool,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 4000))
}

fn default_workers() -> usize {
    2
}

fn default_socket_token_s() -> u64 {
    300
}

/// The running gateway; cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    address: SocketAddr,
    server: server::Running,
    admin: admin::Socket,
    closing: watch::Sender<bool>,
}

impl Gateway {
    /// Binds both sockets and serves on them under `supervisor`.
    ///
    /// Refuses a configuration that makes no sense, an address that is taken, and an operator's
    /// socket on which somebody answers already.
    pub fn start(
        config: Config,
        served: ServedIdentity,
        bridge: Bridge,
        tokens: Tokens,
        supervisor: Supervisor,
    ) -> Result<Self, GatewayError> {
        let (closing, closed) = watch::channel(false);
        let listen = config.listen;
        let admin = admin::Socket::bind(&config.admin_socket)?;
        let workers = config.workers;
        let state = state::State::new(config, bridge.clone(), tokens.clone(), closed)?;

        let bind = |source| GatewayError::Bind { address: listen, source };
        let listener = TcpListener::bind(listen).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;

        admin.serve(bridge, tokens, &supervisor);
        let server = server::start(listener, workers, served, state, &supervisor);
        log::info!("serving clients on {address}");
        Ok(Self { address, server, admin, closing })
    }

    /// Where HTTPS is served, the port included that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more clients, tells open sockets so, and returns when requests in hand are
    /// answered, after a few seconds at most.
    pub async fn stop(&self) {
        self.closing.send_replace(true);
        self.server.stop().await;
        self.admin.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_needs_only_the_operators_socket() {
        let config: Config = serde_json::from_str(r#"{"admin_socket":"/run/x/s"}"#).unwrap();
        assert_eq!(config.listen.port(), 4000);
        assert!(config.allowed_origins.is_empty() && !config.allow_token_in_query);
        assert_eq!((config.workers, config.socket_token_s), (2, 300));
        let misspelt = r#"{"admin_socket":"/run/x/s","alowed_origins":[]}"#;
        assert!(serde_json::from_str::<Config>(misspelt).is_err());
    }
}
