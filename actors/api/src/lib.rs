//! The agent's HTTPS API: for instances, for AMS, for probes and operators. A skin: it checks who
//! asks and what is asked, and `sessions` decides.
//!
//! Asked from the network, by anybody; asks `tokens` and `sessions`. A restart of the actor loses
//! nothing: the listening socket is kept outside of it, so that nobody is refused, and the server
//! of before finishes what it has begun.

mod actor;
mod auth;
mod body;
mod connection_limit;
mod error;
mod openapi;
mod rate_limit;
mod response;
mod routes;
mod server;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Deserialize;
use stream_metrics::HttpMetrics;
use stream_pki::ServerIdentity;
use stream_sessions::Sessions;
use stream_supervisor::{Mailbox, Supervisor};
use stream_tokens::Tokens;
use tokio::sync::watch;

use actor::Actor;
use rate_limit::RateLimiter;
use routes::AppState;

/// Where the API listens.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port; defaults to `0.0.0.0:9033`. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that serve connections, 1 to 64; defaults to 2.
    pub workers: usize,
    /// Requests a second that one token may make on the average, at least 1; defaults to 50. Ten
    /// times as many may come at once.
    pub requests_per_second: u32,
    /// Connections that one address may have at a time, at least 1; defaults to 1000.
    pub connections_per_address: usize,
    /// Addresses of proxies and balancers, whose connections are not counted; defaults to none.
    pub trusted_proxies: Vec<IpAddr>,
}

const MAX_WORKERS: usize = 64;

impl Config {
    /// Refuses what cannot work.
    pub fn check(&self) -> io::Result<()> {
        let text = if !(1..=MAX_WORKERS).contains(&self.workers) {
            format!("api.workers is between 1 and {MAX_WORKERS}")
        } else if self.requests_per_second == 0 || self.connections_per_address == 0 {
            "api.requests_per_second and api.connections_per_address are at least 1".to_owned()
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
            connections_per_address: 1000,
            trusted_proxies: Vec::new(),
        }
    }
}

/// The running API.
#[derive(Clone)]
pub struct Api {
    mailbox: Mailbox<Actor>,
    address: SocketAddr,
    closing: watch::Sender<bool>,
}

impl Api {
    /// Listens and starts the actor under `supervisor`, which rebuilds the server when it fails.
    /// Refuses when the address is taken. Needs a running actix system.
    pub fn start(
        config: Config,
        served: ServerIdentity,
        sessions: Sessions,
        tokens: Tokens,
        supervisor: Supervisor,
    ) -> io::Result<Self> {
        let (closing, closed) = watch::channel(false);
        let rate_limiter = RateLimiter::new(config.requests_per_second);
        let requests = HttpMetrics::default();
        let state = AppState::new(
            sessions,
            tokens,
            supervisor.clone(),
            requests.clone(),
            rate_limiter,
            closed,
        );
        let routes = move |app: &mut _| routes::configure(app, &state);
        let (mailbox, address) = actor::start(config, &served, requests, routes, &supervisor)?;
        log::info!("the api listens on https://{address}");
        Ok(Self { mailbox, address, closing })
    }

    /// Where it listens, the port chosen if the configuration left that open.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, lets requests under way finish for a few seconds, and ends.
    pub async fn stop(&self) {
        self.closing.send_replace(true);
        if let Err(unavailable) = self.mailbox.ask(actor::Close).await {
            log::warn!("the api could not be stopped in order: {unavailable}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_default_and_unknown_ones_are_refused() {
        let config: Config = serde_json::from_str("{}").expect("defaults");
        assert_eq!((config.listen.port(), config.workers), (9033, 2));
        assert_eq!((config.requests_per_second, config.connections_per_address), (50, 1000));
        assert!(config.trusted_proxies.is_empty() && config.check().is_ok());
        for key in ["workers", "requests_per_second", "connections_per_address"] {
            let none: Config =
                serde_json::from_str(&format!(r#"{{"{key}":0}}"#)).expect("a number");
            assert!(none.check().is_err(), "{key}");
        }
        assert!(serde_json::from_str::<Config>(r#"{"lisen":"0.0.0.0:1"}"#).is_err());
    }
}
