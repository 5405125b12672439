//! The client side of the stack: the HTTPS API, the client's signaling socket, service accounts,
//! shares and the page at `/`.
//!
//! Asked by browsers and other clients over HTTPS and WSS, by operators through [`admin`], and by
//! agents for the sessions of instances that AMS launched by itself. Asks
//! `bridge` for documents, signals and the agents, and `tokens` for what a token allows. It keeps
//! nothing of its own: every unit serves every session.
//!
//! The actor `gateway` keeps the HTTPS server running: a failure of the actor leaves the server
//! alone, and after a failure of the server the next one takes the clients that wait meanwhile.

mod accounts;
pub mod admin;
mod ams_initiated;
mod auth;
mod catalog;
mod client_lease;
mod clock;
mod config;
mod cors;
mod document_watch;
mod error;
mod metrics;
mod open_sockets;
mod openapi;
mod owner;
mod placement;
mod query;
mod response;
mod routes;
mod server;
mod session_documents;
mod sessions;
mod shares;
mod socket;
mod state;
mod urls;
mod web_ui;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use stream_bridge::Bridge;
use stream_metrics::HttpMetrics;
use stream_pki::ServerIdentity;
use stream_supervisor::{Drain, Supervisor};
use stream_tokens::Tokens;
use tokio::sync::watch;

pub use config::Config;
pub use error::GatewayError;

use open_sockets::OpenSockets;

/// How long a gateway that drains stays at least.
const MIN_DRAIN: Duration = Duration::from_secs(2);

/// How long it stays, when it takes no more connections, after each TLS handshake: for the next one
/// of those that were taken, over a slow line, and for the request that follows it.
const HANDSHAKE_QUIET: Duration = Duration::from_secs(2);

/// And how long at most, if the drain has that much time left.
const MAX_HANDSHAKE_WAIT: Duration = Duration::from_secs(6);

/// How often a gateway that drains looks whether its clients have gone.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// The running gateway; cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    address: SocketAddr,
    server: server::ServerHandle,
    closing: watch::Sender<bool>,
    drain: Drain,
    open_sockets: OpenSockets,
    requests: HttpMetrics,
}

impl Gateway {
    /// Binds the address and serves on it under `supervisor`. On an order to `drain` it says that it
    /// is not healthy, sends those away who can go on elsewhere, and serves all others until it is
    /// stopped.
    ///
    /// Refuses a configuration that makes no sense, and an address that is taken.
    pub fn start(
        config: Config,
        served: ServerIdentity,
        bridge: Bridge,
        tokens: Tokens,
        drain: &Drain,
        supervisor: &Supervisor,
    ) -> Result<Self, GatewayError> {
        let (closing, closed) = watch::channel(false);
        let listen = config.listen;
        let workers = config.workers;
        let open_sockets = OpenSockets::default();
        let state = state::State::new(
            config,
            bridge.clone(),
            tokens,
            supervisor.clone(),
            closed,
            drain.clone(),
            open_sockets.clone(),
        )?;

        let requests = state.requests.clone();
        let bind = |source| GatewayError::Bind { address: listen, source };
        let listener = TcpListener::bind(listen).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;

        ams_initiated::start(&bridge, supervisor);
        let server = server::start(listener, workers, served, state, supervisor);
        log::info!("serving clients on {address}");
        Ok(Self { address, server, closing, drain: drain.clone(), open_sockets, requests })
    }

    /// Returns when no client has a socket here any more, and those that are connected had the time
    /// for a request, whose answer sends them elsewhere: who asks in the moment of the end is cut off.
    pub async fn drained(&self) {
        tokio::time::sleep(MIN_DRAIN).await;
        while let left @ 1.. = self.open_sockets.count() {
            self.drain.set_remaining(left);
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    /// Where HTTPS is served, the port included that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more clients, tells open sockets so, and returns when requests in hand are
    /// answered, after a few seconds at most.
    pub async fn stop(&self) {
        if let Some(left) = self.drain.time_left() {
            // Clients are still coming: a server that stops closes a connection whose request is
            // just on its way. From here on they go elsewhere; the last one gets its answer.
            self.server.stop_accepting().await;
            let _ = tokio::time::timeout(
                MAX_HANDSHAKE_WAIT.min(left),
                wait_until_quiet(&self.requests),
            )
            .await;
        }
        self.closing.send_replace(true);
        self.server.stop().await;
    }
}

/// Returns when there was no handshake for a while.
async fn wait_until_quiet(requests: &HttpMetrics) {
    loop {
        let before = requests.handshakes();
        tokio::time::sleep(HANDSHAKE_QUIET).await;
        if requests.handshakes() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_a_request_after_each_handshake() {
        let (requests, begun) = (HttpMetrics::default(), tokio::time::Instant::now());
        let crowd = async {
            for _ in 0..3 {
                tokio::time::sleep(HANDSHAKE_QUIET * 3 / 4).await;
                requests.handshake(false);
            }
        };
        tokio::join!(wait_until_quiet(&requests), crowd);
        assert_eq!(begun.elapsed(), 4 * HANDSHAKE_QUIET);
        wait_until_quiet(&requests).await;
        assert_eq!(begun.elapsed(), 5 * HANDSHAKE_QUIET);
    }
}
