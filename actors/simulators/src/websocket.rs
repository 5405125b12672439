//! Opens WebSockets inside TLS, for clients of the gateway and for instances.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Connection, TLS and upgrade together.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) type WebSocket = WebSocketStream<TlsStream<TcpStream>>;

/// A socket did not open. The address may hold a token and is never part of the text.
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

/// Opens the socket at `url`, whose server `tls` trusts, for messages of at most `limit` bytes.
/// The server is told `authorization` once it has shown its certificate.
pub(crate) async fn open(
    url: &str,
    tls: Arc<ClientConfig>,
    authorization: Option<&HeaderValue>,
    limit: usize,
) -> Result<WebSocket, SocketError> {
    let opened = open_unbounded(url, tls, authorization, limit);
    time::timeout(OPEN_TIMEOUT, opened).await.unwrap_or(Err(SocketError::Late))
}

async fn open_unbounded(
    url: &str,
    tls: Arc<ClientConfig>,
    authorization: Option<&HeaderValue>,
    limit: usize,
) -> Result<WebSocket, SocketError> {
    let address = reqwest::Url::parse(url).map_err(|_| SocketError::Address)?;
    if address.scheme() != "wss" {
        return Err(SocketError::Address);
    }
    let host = address.host_str().ok_or(SocketError::Address)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = address.port_or_known_default().ok_or(SocketError::Address)?;
    let mut request = url.into_client_request().map_err(|_| SocketError::Address)?;
    if let Some(authorization) = authorization {
        request.headers_mut().insert(AUTHORIZATION, authorization.clone());
    }

    let tcp = TcpStream::connect((host.as_str(), port)).await?;
    // As browsers do: a signal does not wait until the one before is acknowledged.
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(host).map_err(|_| SocketError::Address)?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await?;

    let limits =
        WebSocketConfig::default().max_message_size(Some(limit)).max_frame_size(Some(limit));
    match client_async_with_config(request, stream, Some(limits)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => {
            Err(SocketError::Refused(answer.status().as_u16()))
        }
        Err(error) => Err(SocketError::Upgrade(Box::new(error))),
    }
}
