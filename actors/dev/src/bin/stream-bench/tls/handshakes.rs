//! Clients that do a handshake, take the tickets, and begin anew.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustls::crypto::SupportedKxGroup;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use super::super::tls_client::client;

/// Connections under way, each by a thread: what waits for a server costs nothing.
const CLIENTS: usize = 12;

const ROUND: Duration = Duration::from_millis(1500);

const IO_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Handshakes {
    server: SocketAddr,
    /// One for each client, with its tickets.
    clients: Vec<Arc<ClientConfig>>,
    kind: HandshakeKind,
}

impl Handshakes {
    /// Prepares clients; those that resume have their first tickets then.
    pub(super) fn new(
        port: u16,
        group: &'static dyn SupportedKxGroup,
        resumed: bool,
    ) -> anyhow::Result<Self> {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let clients = (0..CLIENTS).map(|_| Arc::new(client(group, resumed))).collect::<Vec<_>>();
        if resumed {
            for client in &clients {
                shake_hands(server, client)?;
            }
        }
        let kind = if resumed { HandshakeKind::Resumed } else { HandshakeKind::Full };
        Ok(Self { server, clients, kind })
    }

    /// Does handshakes for a round; returns how many, and how long it took.
    pub(super) fn run(&self) -> anyhow::Result<(usize, Duration)> {
        let begun = Instant::now();
        let counts: anyhow::Result<Vec<_>> = std::thread::scope(|scope| {
            let run = |client| {
                scope.spawn(move || {
                    let mut count = 0;
                    while begun.elapsed() < ROUND {
                        let kind = shake_hands(self.server, client)?;
                        anyhow::ensure!(kind == self.kind, "a handshake was {kind:?}");
                        count += 1;
                    }
                    anyhow::Ok(count)
                })
            };
            let threads: Vec<_> = self.clients.iter().map(run).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, anyhow::Result<usize>>| {
                thread.join().unwrap_or_else(|_| anyhow::bail!("a client panicked"))
            };
            threads.into_iter().map(join).collect()
        });
        Ok((counts?.into_iter().sum(), begun.elapsed()))
    }
}

/// Connects, and goes as soon as the first ticket is there, which is the server's last word.
fn shake_hands(server: SocketAddr, tls: &Arc<ClientConfig>) -> anyhow::Result<HandshakeKind> {
    let mut tcp = TcpStream::connect(server)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(IO_TIMEOUT))?;
    let name = ServerName::from(Ipv4Addr::LOCALHOST);
    let mut connection = ClientConnection::new(Arc::clone(tls), name)?;
    while connection.is_handshaking() || connection.tls13_tickets_received() == 0 {
        while connection.wants_write() {
            connection.write_tls(&mut tcp)?;
        }
        let read = connection.read_tls(&mut (&mut tcp as &mut dyn Read))?;
        anyhow::ensure!(read > 0, "the server has hung up");
        connection.process_new_packets()?;
    }
    connection.send_close_notify();
    connection.write_tls(&mut tcp)?;
    connection.handshake_kind().context("no kind of handshake")
}
