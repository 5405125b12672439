//! The client side of the stack: the HTTPS API, the client's signaling socket, service accounts,
//! shares and the pages at `/` and `/console`.
//!
//! Asked by browsers and other clients over HTTPS and WSS, by operators through [`admin`], and by
//! agents for the sessions of instances that AMS launched by itself. Asks `bridge` for documents,
//! signals, the presence of agents and how they are, and `tokens` for what a token allows. Every
//! unit serves every session: all that must outlive the process is in NATS.
//!
//! The actor `gateway` keeps the HTTPS server running; the actor `initiated` serves the requests of
//! agents; the actor `views` keeps in memory what is shown, listed and counted.
//!
//! | part | on restart | why |
//! |---|---|---|
//! | listening socket, running server | kept | a failure of the actor cuts off no client |
//! | server that ended by itself | rebuilt | the next one accepts on the kept socket |
//! | upkeep of accounts | kept | it runs in a task of its own until the gateway stops |
//! | client sockets | kept | each runs in a task of its own, until its session or the server ends |
//! | counts of open sockets and of clients that may return, HTTP metrics, order to drain | kept |
//! they describe the process |
//! | catalogues of agents, what each session may still write, the sockets of each client | kept |
//! they belong to the requests |
//! | streams of events, what agents said last of themselves and their relays, who was turned away |
//! kept | they belong to the requests |
//! | subscription of `initiated` | rebuilt | the other gateways of the group serve meanwhile |
//! | sessions, shares, accounts and settings in `views` | rebuilt | a wrong view is gone |
//! | who watches a session in `views` | kept | their sockets live on |
//!
//! What is kept is shared state: the state of all requests and the handle of the server. Requests
//! change nothing in it but counts and limits, and what was read.
//!
//! The way of a new session: `create_session` (HTTP) → `place_session` (stores the document) →
//! `request_launch` (asks an agent).

mod account_list;
mod account_record;
mod account_removal;
mod account_rotation;
mod account_upkeep;
mod accounts;
mod adb_connections;
pub mod admin;
mod agent_view;
mod agents;
mod ams_initiated;
mod audited;
mod auth;
mod background;
mod catalog;
mod catalogues;
mod client_lease;
mod config;
mod content_policy;
mod cors;
mod diagnosis;
mod embed;
mod error;
mod events;
mod explanation;
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod latest;
mod live_config;
mod live_count;
mod metrics;
mod middleware;
#[cfg(test)]
mod openapi;
mod owner;
mod placement;
mod present_agents;
mod query;
mod relay_view;
mod relays;
mod response;
mod routes;
mod session_documents;
mod session_summary;
mod sessions;
mod settings;
mod share_record;
mod shares;
mod signs;
#[cfg(feature = "simulation")]
pub mod simulation;
mod socket;
mod state;
mod timeline;
mod turned_away;
mod urls;
mod views;
mod web_ui;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::web::{Data, ServiceConfig};
use stream_audit::AuditLog;
use stream_http::{Dependencies, HttpConfig, Limits, Server, Service};
use stream_metrics::{Collectors, HttpMetrics};
use stream_pki::{ClientCertificates, ServerIdentity, server_config};
use stream_supervisor::{Drain, Supervisor};
use stream_tokens::Tokens;
use tokio::sync::watch;

pub use config::Config;
pub use error::GatewayError;
pub use settings::Settings;
pub use views::Views;

use live_count::LiveCount;
use state::State;

/// The shortest drain: connected clients have this long for a request whose answer sends them
/// elsewhere.
const MIN_DRAIN: Duration = Duration::from_secs(2);

/// After accepting stops, the gateway waits until no TLS handshake has completed for this long:
/// connections that are already accepted may still be in their handshake.
const HANDSHAKE_QUIET: Duration = Duration::from_secs(2);

/// The longest wait for handshakes, within the deadline of the drain.
const MAX_HANDSHAKE_WAIT: Duration = Duration::from_secs(6);

/// How long a gateway that stops takes to write down which clients have left.
const DEPARTURES_DEADLINE: Duration = Duration::from_secs(3);

/// Between two looks of a draining gateway at its number of open sockets.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// The running gateway; cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    server: Server,
    closing: watch::Sender<bool>,
    drain: Drain,
    open_sockets: LiveCount,
    departures: LiveCount,
    requests: HttpMetrics,
    state: Data<State>,
}

impl Gateway {
    /// Binds the address, unless a listening socket is `inherited`, and serves there under
    /// `supervisor`. On an order to `drain`, the gateway reports that it is not healthy, closes the
    /// sockets of clients that can go on elsewhere, and serves all others until it is stopped. Who
    /// scrapes it is told the `metrics` as well, which others have; what clients order goes into
    /// `audit`.
    ///
    /// # Errors
    ///
    /// Refuses a configuration that makes no sense, and an address that is taken.
    pub fn start(
        config: Config,
        (http, inherited): (HttpConfig, Option<TcpListener>),
        (served, metrics): (ServerIdentity, Collectors),
        views: Views,
        (tokens, audit): (Tokens, AuditLog),
        drain: &Drain,
        supervisor: &Supervisor,
    ) -> Result<Self, GatewayError> {
        let (closing, closed) = watch::channel(false);
        let listen = config.listen;
        let workers = config.workers;
        let (open_sockets, departures) = (LiveCount::default(), LiveCount::default());
        let state = State::new(
            config,
            views,
            (tokens, audit),
            (supervisor.clone(), metrics),
            closed,
            drain.clone(),
            (open_sockets.clone(), departures.clone()),
        )?;

        let state = Data::new(state);
        background::start(&state);
        let host = state.urls.public_host().or_else(|| served.current().first_name());
        let host = host.unwrap_or_default();
        let refusals = state.refusals.clone();
        let requests = refusals.metrics().clone();
        let state_of_routes = state.clone();
        let routes = move |app: &mut ServiceConfig| routes::configure(app, &state_of_routes);
        let service = Service { name: "gateway", refusals, host, drain: drain.clone(), routes };
        let tls = server_config(&served, ClientCertificates::Ignored);
        let limits = Limits { http, ..Limits::default() };
        let config = stream_http::Config { listen, inherited, workers, limits };
        let server = Server::start(config, tls, service, supervisor)
            .map_err(|source| GatewayError::Bind { address: listen, source })?;
        log::info!(address:% = server.address(); "clients are served");
        let drain = drain.clone();
        Ok(Self { server, closing, drain, open_sockets, departures, requests, state })
    }

    /// Returns, for everything the gateway depends on, whether it is there, and if not, why.
    pub async fn readiness(&self) -> Dependencies {
        health::dependencies(&self.state).await
    }

    /// Returns when no client has a socket here any more, after `MIN_DRAIN` at least.
    pub async fn drained(&self) {
        tokio::time::sleep(MIN_DRAIN).await;
        while let left @ 1.. = self.open_sockets.count() {
            self.drain.set_remaining(left);
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    /// Returns where HTTPS is served, with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Stops accepting clients, closes open sockets with the reason, and returns when requests in
    /// hand are answered, after a few seconds at most.
    pub async fn stop(&self) {
        if let Some(left) = self.drain.time_left()
            && !self.server.is_inherited()
        {
            // A server that stops closes a connection whose request is on its way. Clients that
            // come from here on go elsewhere; those that are connected get their answer.
            self.server.stop_accepting().await;
            let _ = tokio::time::timeout(
                MAX_HANDSHAKE_WAIT.min(left),
                wait_until_quiet(&self.requests),
            )
            .await;
        }
        self.closing.send_replace(true);
        // Before the threads of the server end, on which they are reported.
        let _ = tokio::time::timeout(DEPARTURES_DEADLINE, self.departures_reported()).await;
        self.server.stop().await;
    }

    /// Returns when every socket has ended, and every instance whose client has left here knows
    /// that.
    async fn departures_reported(&self) {
        while self.open_sockets.count() + self.departures.count() > 0 {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }
}

/// Returns when no TLS handshake has completed for [`HANDSHAKE_QUIET`].
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
        let clients = async {
            for _ in 0..3 {
                tokio::time::sleep(HANDSHAKE_QUIET * 3 / 4).await;
                requests.handshake(false);
            }
        };
        tokio::join!(wait_until_quiet(&requests), clients);
        assert_eq!(begun.elapsed(), 4 * HANDSHAKE_QUIET);
        wait_until_quiet(&requests).await;
        assert_eq!(begun.elapsed(), 5 * HANDSHAKE_QUIET);
    }
}
