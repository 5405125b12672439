//! Many addresses with many connections, each of which resumed and has sent half of a request.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::sources::{address, connect_tls};
use super::super::tls_client::{client, x25519};
use super::neighbour::{Visits, visit};

const ADDRESSES: usize = 40;
const CONNECTIONS: usize = 8_000;

/// Connections that are opened at the same time.
const OPENING: usize = 32;

const WHOLE: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
const HALF: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Unfinished: ";

/// Opens all and returns what the neighbour sees while they are held.
pub(super) async fn hold(port: u16) -> anyhow::Result<Visits> {
    // Each address has tickets that it takes from its own connections.
    let clients: Vec<_> = (0..ADDRESSES).map(|_| Arc::new(client(x25519(), true))).collect();
    for (n, client) in clients.iter().enumerate() {
        let mut stream = connect_tls(address(6, n), port, client).await?;
        stream.write_all(WHOLE).await?;
        // The tickets come with the answer. A server may cut the rest off.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    let begun = Instant::now();
    let open = async |n: usize| {
        let (from, client) = (address(6, n % ADDRESSES), &clients[n % ADDRESSES]);
        let mut stream = connect_tls(from, port, client).await?;
        stream.write_all(HALF).await?;
        // The tickets for the next one come behind the handshake.
        stream.get_mut().0.readable().await?;
        let (tcp, tls) = stream.get_mut();
        let mut read = Vec::with_capacity(4096);
        match tcp.try_read_buf(&mut read) {
            Ok(_) => {
                tls.read_tls(&mut &read[..])?;
                tls.process_new_packets()?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        let resumed = tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        anyhow::Ok((stream, resumed))
    };
    let opening = stream::iter((0..CONNECTIONS).map(open)).buffer_unordered(OPENING);
    let held: Vec<_> = opening.try_collect().await?;
    let resumed = held.iter().filter(|(_, resumed)| *resumed).count();
    eprintln!(
        "{CONNECTIONS} connections, {resumed} resumed, are stuck after {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    let visits = visit(port, &Cell::new(false)).await?;
    let is_open = |stream: &tokio::net::TcpStream| {
        let read = stream.try_read(&mut [0; 64]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let left = held.iter().filter(|(stream, _)| is_open(stream.get_ref().0)).count();
    eprintln!("{left} were held to the end");
    Ok(visits)
}
