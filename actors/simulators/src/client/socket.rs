//! The signaling socket of the client: text frames over a pinned TLS connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use stream_pki::{Fingerprint, Trust, client_config};
use stream_protocol::MAX_SIGNAL_BYTES;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Connection, TLS and upgrade together.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// A frame that the other side does not take in this time means that it is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// The signaling socket did not open. The address holds a token and is never part of the text.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("the address of the socket is not wss://host:port/…")]
    Address,
    #[error("no connection")]
    Connect(#[from] io::Error),
    #[error("the server did not answer in time")]
    Late,
    #[error("no TLS configuration")]
    Tls(#[from] stream_pki::PkiError),
    #[error("the server refused the upgrade with code {0}")]
    Refused(u16),
    #[error("the upgrade failed")]
    Upgrade(#[source] Box<tungstenite::Error>),
}

/// The channels of [`relay_signals`] to and from the peer.
pub(super) struct RelayChannels {
    pub(super) to_peer: mpsc::Sender<String>,
    pub(super) from_peer: mpsc::Receiver<String>,
}

/// Opens the socket at `url`, whose server shows one of the certificates in `pins`.
pub(super) async fn open(url: &str, pins: Vec<Fingerprint>) -> Result<Socket, SocketError> {
    time::timeout(OPEN_TIMEOUT, open_unbounded(url, pins)).await.unwrap_or(Err(SocketError::Late))
}

/// Carries signals both ways until the peer has no more need of them or the socket is closed.
pub(super) async fn relay_signals(socket: Socket, channels: RelayChannels) {
    let RelayChannels { to_peer, mut from_peer } = channels;
    let (mut sink, mut stream) = socket.split();
    loop {
        tokio::select! {
            text = from_peer.recv() => {
                let Some(text) = text else { break };
                let sent = time::timeout(SEND_TIMEOUT, sink.send(Message::text(text))).await;
                if !matches!(sent, Ok(Ok(()))) {
                    log::warn!("the signaling socket takes nothing any more");
                    return;
                }
            }
            message = stream.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    // A peer that is connected needs no more signals.
                    let _ = to_peer.send(text.as_str().to_owned()).await;
                }
                Some(Ok(Message::Close(_))) | None => {
                    log::info!("the signaling socket was closed by the server");
                    return;
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    log::warn!(error:%; "the signaling socket failed");
                    return;
                }
            }
        }
    }
    // The server answers a goodbye; to leave before would look like a connection that broke.
    let goodbye = async {
        let _ = sink.close().await;
        while let Some(Ok(_)) = stream.next().await {}
    };
    let _ = time::timeout(SEND_TIMEOUT, goodbye).await;
}

async fn open_unbounded(url: &str, pins: Vec<Fingerprint>) -> Result<Socket, SocketError> {
    let address = reqwest::Url::parse(url).map_err(|_| SocketError::Address)?;
    if address.scheme() != "wss" {
        return Err(SocketError::Address);
    }
    let host = address.host_str().ok_or(SocketError::Address)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = address.port_or_known_default().ok_or(SocketError::Address)?;

    let config = client_config(&Trust::Pins(pins), None)?;
    let tcp = TcpStream::connect((host.as_str(), port)).await?;
    // As browsers do: a signal does not wait until the one before is acknowledged.
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(host).map_err(|_| SocketError::Address)?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;

    let limits = WebSocketConfig::default()
        .max_message_size(Some(MAX_SIGNAL_BYTES))
        .max_frame_size(Some(MAX_SIGNAL_BYTES));
    match client_async_with_config(url, tls, Some(limits)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => {
            Err(SocketError::Refused(answer.status().as_u16()))
        }
        Err(error) => Err(SocketError::Upgrade(Box::new(error))),
    }
}
