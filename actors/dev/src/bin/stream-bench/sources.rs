//! Connections from many addresses: all of 127.0.0.0/8 is this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Number `n` of the addresses in the network `net`, 1 to 255.
pub(super) fn address(net: u8, n: usize) -> Ipv4Addr {
    // Some hundreds at most.
    let n = u16::try_from(n + 1).unwrap_or(u16::MAX).to_be_bytes();
    Ipv4Addr::new(127, net, n[0], n[1])
}

pub(super) async fn connect(from: Ipv4Addr, port: u16) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(super) async fn connect_tls(
    from: Ipv4Addr,
    port: u16,
    tls: &Arc<ClientConfig>,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let tcp = connect(from, port).await?;
    let name = ServerName::from(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));
    Ok(TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await?)
}
