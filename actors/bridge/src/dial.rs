//! Finding a server that answers, among many that may not: those of the configuration, all their
//! addresses, and those that the servers tell of each other.
//!
//! The client of NATS tries one address after the other and waits for each that is mute. Here they
//! are tried beside each other, ever more of them, so that the time to get to one that answers does
//! not grow with the dead ones (RFC 8305 does so for the two families of a name). What is tried is
//! what the client does afterwards: TCP, TLS, and the first word of the server. That takes one
//! handshake more: none is resumed, so that every connect shows the server's certificate.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::ServerAddr;
use futures_util::future::join_all;
use stream_pki::TlsFailure;
use stream_supervisor::race;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// How long one address may take to shake hands and to say its first word.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a name may take to be looked up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(4);

/// The first word of every server.
const GREETING: &[u8; 4] = b"INFO";

/// The most causes that are told of one round.
const MAX_CAUSES: usize = 4;

/// Why one address is not a server of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("its name cannot be looked up ({0}), check nats.servers")]
    Name(String),
    #[error("it does not answer")]
    Silent,
    #[error("it cannot be reached ({0})")]
    Unreachable(io::Error),
    #[error("{0}{remedy}", remedy = remedy(.0))]
    Tls(TlsFailure),
    #[error("it is no NATS server, check nats.servers")]
    Stranger,
}

/// Tries addresses.
pub(crate) struct Dialer {
    tls: TlsConnector,
    /// Those of the configuration.
    configured: Vec<ServerAddr>,
    /// One for each address of a configured name that has several: the client would try them in
    /// line if it were told the name.
    addresses: HashSet<ServerAddr>,
}

impl Dialer {
    /// Looks up the names in `servers`, each of which was checked.
    pub(crate) async fn new(tls: ClientConfig, servers: &[ServerAddr]) -> Self {
        let found = join_all(servers.iter().map(async |server| look_up(server).await));
        let several = found.await.into_iter().flatten().filter(|found| found.len() > 1);
        let address = |address: SocketAddr| format!("tls://{address}").parse().ok();
        let addresses = several.flatten().filter_map(address).collect();
        let configured = servers.to_vec();
        Self { tls: TlsConnector::from(Arc::new(tls)), configured, addresses }
    }

    /// Returns what the client has to know to be sent to any of them.
    pub(crate) fn pool(&self) -> Vec<ServerAddr> {
        let addresses = self.addresses.iter().filter(|known| !self.configured.contains(known));
        self.configured.iter().chain(addresses).cloned().collect()
    }

    /// Returns the entry of `pool` that leads to a server which answers now: the first one to do
    /// so.
    ///
    /// # Errors
    ///
    /// One sentence with a cause for each server, when none does.
    pub(crate) async fn find(&self, pool: &[ServerAddr]) -> Result<ServerAddr, String> {
        let is_own = |server: &&ServerAddr| {
            self.configured.contains(server) || !self.addresses.contains(server)
        };
        let mut servers: Vec<_> = pool.iter().filter(is_own).collect();
        fastrand::shuffle(&mut servers);
        let found = race(servers, |server| self.reach(server, pool)).await;
        found.map_err(|causes| {
            let mut causes: Vec<_> =
                causes.iter().map(|(at, why)| format!("{at}: {why}")).collect();
            causes.sort();
            causes.dedup();
            causes.truncate(MAX_CAUSES);
            causes.join("; ")
        })
    }

    /// Tries all addresses of `server` and returns the entry of `pool` for the one that answers.
    async fn reach(
        &self,
        server: &ServerAddr,
        pool: &[ServerAddr],
    ) -> Result<ServerAddr, (String, DialError)> {
        let told = |why| (format!("{}:{}", server.host(), server.port()), why);
        let addresses = look_up(server).await.map_err(told)?;
        let only = addresses.len() == 1;
        let greeted = race(addresses, |address| self.greet(address, server.host())).await;
        match greeted {
            Ok(_) if only => Ok(server.clone()),
            Ok(address) => {
                let entry = pool.iter().find(|entry| {
                    entry.host().parse() == Ok(address.ip()) && entry.port() == address.port()
                });
                Ok(entry.unwrap_or(server).clone())
            }
            Err(mut causes) => {
                // What is wrong with the server says more than what is wrong with the way there.
                causes.sort_by_key(|why| !matches!(why, DialError::Tls(_) | DialError::Stranger));
                let first = causes.into_iter().next();
                Err(told(first.unwrap_or_else(|| DialError::Name("no address".to_owned()))))
            }
        }
    }

    /// Shakes hands with whoever listens at `address`, and waits for its first word.
    async fn greet(&self, address: SocketAddr, host: &str) -> Result<SocketAddr, DialError> {
        let greeted = async {
            let name = ServerName::try_from(host.to_owned());
            let name = name.map_err(|error| DialError::Name(error.to_string()))?;
            let stream = TcpStream::connect(address).await.map_err(DialError::Unreachable)?;
            let mut stream = self.tls.connect(name, stream).await.map_err(DialError::from)?;
            // A server that hangs, or that refuses our certificate, is told only now.
            let mut word = [0; GREETING.len()];
            stream.read_exact(&mut word).await.map_err(DialError::from)?;
            if &word == GREETING { Ok(address) } else { Err(DialError::Stranger) }
        };
        timeout(ATTEMPT_TIMEOUT, greeted).await.unwrap_or(Err(DialError::Silent))
    }
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        TlsFailure::find(&error).map_or(Self::Unreachable(error), Self::Tls)
    }
}

/// Returns what an operator can do about a failure.
fn remedy(failure: &TlsFailure) -> &'static str {
    match failure {
        TlsFailure::UnknownAuthority => ", check nats.ca",
        TlsFailure::WrongName { .. } => {
            ", call it so in nats.servers or give it a certificate for this name"
        }
        TlsFailure::PlainText => ", set `handshake_first: true` in the tls block of nats-server",
        TlsFailure::OurCertificate(_) => ", check nats.certificate",
        _ => "",
    }
}

/// Looks up the addresses of `server`, both families in turn.
async fn look_up(server: &ServerAddr) -> Result<Vec<SocketAddr>, DialError> {
    let found = timeout(LOOKUP_TIMEOUT, lookup_host((server.host(), server.port()))).await;
    let found = found.map_err(|_| DialError::Name("no answer".to_owned()))?;
    let found = found.map_err(|error| DialError::Name(error.to_string()))?;
    Ok(in_turn(found.collect()))
}

/// Orders addresses so that the families take turns, beginning with that of the first.
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (one, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == first_is_v4);
    let mut other = other.into_iter();
    let mut all: Vec<_> =
        one.into_iter().flat_map(|first| [Some(first), other.next()]).flatten().collect();
    all.extend(other);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_of_a_name_take_turns() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (a, b, c) = (address("[::1]:1"), address("[::2]:1"), address("127.0.0.1:1"));
        assert_eq!(in_turn(vec![a, b, c]), [a, c, b]);
        assert_eq!(in_turn(vec![c, a, b]), [c, a, b]);
        assert_eq!(in_turn(Vec::new()), []);
    }
}
