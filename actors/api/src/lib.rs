//! The agent's HTTPS API: for instances, for AMS, for probes and operators. It checks who asks and
//! what is asked; `sessions` decides.
//!
//! Asked from the network, by anybody; asks `tokens` and `sessions`.
//!
//! | part | on restart | why |
//! |---|---|---|
//! | socket, server, connections | kept by [`stream_http::Server`] | nobody is refused or cut off |
//! | rates, connections per address, metrics | kept | they belong to clients |
//! | watch over the server | rebuilt | it is all that the actor does |

mod auth;
mod error;
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod openapi;
mod routes;
mod state;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::web::ServiceConfig;
use serde::{Deserialize, Serialize};
use stream_http::{
    HttpConfig, LatestDependencies, Limits, PollLimit, RateLimiter, Refusals, Server, Service,
};
use stream_metrics::Collectors;
use stream_pki::{ClientCertificates, ServerIdentity, server_config};
use stream_sessions::Sessions;
use stream_socket::SocketLimit;
use stream_supervisor::{Drain, Supervisor};
use stream_tokens::Tokens;
use tokio::sync::watch;

use state::AppState;

/// Where the API listens.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port; defaults to `0.0.0.0:9033`. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that serve connections, 1 to 64; defaults to 2.
    pub workers: usize,
    /// Requests a second that one token may make on the average, at least 1; defaults to 50. Ten
    /// times as many may come at once.
    pub requests_per_second: u32,
}

/// Reports of one session on the average; ten times as many may come at once.
const REPORTS_PER_SECOND: u32 = 2;

/// Long-polls of one token: commands and signals, each perhaps once more after a broken connection.
const MAX_POLLS: usize = 8;

const MAX_WORKERS: usize = 64;

/// How long connected clients have, when the agent is to end, for a request whose answer closes
/// their connection.
const MIN_DRAIN: Duration = Duration::from_secs(2);

impl Config {
    /// Checks that the values make sense.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, with the key that is out of its range.
    pub fn check(&self) -> io::Result<()> {
        let text = if !(1..=MAX_WORKERS).contains(&self.workers) {
            format!("api.workers is between 1 and {MAX_WORKERS}")
        } else if self.requests_per_second == 0 {
            "api.requests_per_second is at least 1".to_owned()
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9033)),
            workers: 2,
            requests_per_second: 50,
        }
    }
}

/// The running API; clones are the same one.
#[derive(Clone)]
pub struct Api {
    server: Server,
    closing: watch::Sender<bool>,
}

impl Api {
    /// Listens, at the socket that is `inherited` if there is one, and starts the actor under
    /// `supervisor`. Who scrapes it is told the `metrics` as well, which others have. While `drain`
    /// orders it to end, every answer closes its connection. Needs a running actix system.
    ///
    /// # Errors
    ///
    /// The configuration makes no sense, or the address is taken.
    pub fn start(
        config: Config,
        (http, inherited): (HttpConfig, Option<TcpListener>),
        (served, metrics): (ServerIdentity, Collectors),
        sessions: Sessions,
        tokens: Tokens,
        drain: &Drain,
        supervisor: Supervisor,
    ) -> io::Result<Self> {
        config.check()?;
        let (closing, closed) = watch::channel(false);
        let arrivals = sessions.arrivals();
        let on_failed_handshake = move |error: &io::Error| arrivals.note_failed_handshake(error);
        let state = AppState {
            sessions,
            tokens,
            supervisor: supervisor.clone(),
            collectors: metrics,
            refusals: Refusals::default().on_failed_handshake(on_failed_handshake),
            rate_limiter: RateLimiter::per_second(config.requests_per_second),
            report_rates: RateLimiter::per_second(REPORTS_PER_SECOND),
            polls: PollLimit::new(MAX_POLLS),
            sockets: SocketLimit::default(),
            dependencies: LatestDependencies::default(),
            closing: closed,
        };
        let refusals = state.refusals.clone();
        let routes = move |app: &mut ServiceConfig| routes::configure(app, &state);
        let host = served.current().first_name().unwrap_or_default();
        let drain = drain.clone();
        let service = Service { name: "api", refusals, host, drain, routes };
        let limits = Limits { http, ..Limits::default() };
        let Config { listen, workers, .. } = config;
        let tls = server_config(&served, ClientCertificates::Ignored);
        let config = stream_http::Config { listen, inherited, workers, limits };
        let server = Server::start(config, tls, service, &supervisor)?;
        log::info!(address:% = server.address(); "the api listens");
        Ok(Self { server, closing })
    }

    /// Where it listens, with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns when nobody is connected any more, or after two seconds: to be awaited between the
    /// order to end and [`Api::stop`].
    pub async fn drained(&self) {
        self.server.connections_closed(MIN_DRAIN).await;
    }

    /// Accepts no more connections, answers long-polls, tells open sockets so, and returns when
    /// requests in hand are answered, after a few seconds at most.
    pub async fn stop(&self) {
        self.closing.send_replace(true);
        self.server.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_default_and_unknown_ones_are_refused() {
        let config: Config = serde_json::from_str("{}").expect("defaults");
        assert_eq!((config.listen.port(), config.workers), (9033, 2));
        assert!(config.requests_per_second == 50 && config.check().is_ok());
        for key in ["workers", "requests_per_second"] {
            let none: Config =
                serde_json::from_str(&format!(r#"{{"{key}":0}}"#)).expect("a number");
            assert!(none.check().is_err(), "{key}");
        }
        assert!(serde_json::from_str::<Config>(r#"{"lisen":"0.0.0.0:1"}"#).is_err());
    }
}
