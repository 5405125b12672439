//! The agent's HTTPS API: for instances, for AMS, for probes and operators. A skin: it checks who
//! asks and what is asked, and `sessions` decides.
//!
//! Asked from the network, by anybody; asks `tokens` and `sessions`. A restart of the actor loses
//! nothing: the listening socket is kept outside of it, so that nobody is refused, and the server
//! of before finishes what it has begun.

mod actor;
mod answer;
mod auth;
mod body;
mod error;
mod openapi;
mod routes;
mod server;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;
use stream_pki::ServedIdentity;
use stream_sessions::Sessions;
use stream_supervisor::{Mailbox, Supervisor};
use stream_tokens::Tokens;
use tokio::sync::watch;

use actor::Actor;
use routes::House;

/// Where the API listens.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port; defaults to `0.0.0.0:9033`. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that serve connections, 1 to 64; defaults to 2.
    pub workers: usize,
}

const MAX_WORKERS: usize = 64;

impl Config {
    /// Refuses what cannot work.
    pub fn check(&self) -> io::Result<()> {
        if (1..=MAX_WORKERS).contains(&self.workers) {
            return Ok(());
        }
        let text = format!("api.workers is between 1 and {MAX_WORKERS}");
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9033)), workers: 2 }
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
        served: ServedIdentity,
        sessions: Sessions,
        tokens: Tokens,
        supervisor: Supervisor,
    ) -> io::Result<Self> {
        let (closing, closed) = watch::channel(false);
        let house = House::new(sessions, tokens, supervisor.clone(), closed);
        let routes = move |app: &mut _| routes::configure(app, &house);
        let (mailbox, address) = actor::start(config, &served, routes, &supervisor)?;
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
        assert!(serde_json::from_str::<Config>(r#"{"lisen":"0.0.0.0:1"}"#).is_err());
    }
}
