//! The signaling socket of the client: text frames over a pinned TLS connection.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use stream_pki::{Fingerprint, Trust, client_config};
use stream_protocol::MAX_SIGNAL_BYTES;
use tokio::sync::mpsc;
use tokio::time;
use tokio_tungstenite::tungstenite::Message;

use crate::websocket::{self, SocketError, WebSocket};

/// A frame that the other side does not take in this time means that it is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// The channels of [`relay_signals`] to and from the peer.
pub(super) struct RelayChannels {
    pub(super) to_peer: mpsc::Sender<String>,
    pub(super) from_peer: mpsc::Receiver<String>,
}

/// Opens the socket at `url`, whose server shows one of the certificates in `pins`.
pub(super) async fn open(url: &str, pins: Vec<Fingerprint>) -> Result<WebSocket, SocketError> {
    let tls = Arc::new(client_config(&Trust::Pins(pins), None)?);
    websocket::open(url, tls, None, MAX_SIGNAL_BYTES).await
}

/// Carries signals both ways until the peer has no more need of them or the socket is closed.
pub(super) async fn relay_signals(socket: WebSocket, channels: RelayChannels) {
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
