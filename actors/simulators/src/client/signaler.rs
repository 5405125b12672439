//! A client that only signals: what many of them cost is the gateway's and not a codec's.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use stream_pki::Fingerprint;
use stream_protocol::SignalId;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use super::socket;
use crate::signaling::InstanceMessage;
use crate::websocket::{SocketError, WebSocket};

/// A close that is not answered in this time is none.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a client that signals goes on no longer.
#[derive(Debug, thiserror::Error)]
pub enum SignalerError {
    #[error("the signaling socket failed")]
    Socket(#[from] SocketError),
    #[error("the signaling socket was lost")]
    Lost,
    /// The gateway says so.
    #[error("the gateway ended the signaling socket: {0}")]
    Ended(String),
    #[error("signals were missed")]
    HistoryGone,
    #[error("no answer of the instance came in time")]
    Late,
}

/// The client of a session at its signaling socket, with a cursor to go on from.
pub struct Signaler {
    socket: WebSocket,
    url: String,
    pins: Vec<Fingerprint>,
    cursor: Option<String>,
}

/// A frame as the socket brings it: a signal, or what it says of itself.
#[derive(Deserialize)]
struct Frame {
    #[serde(rename = "type")]
    notice: Option<String>,
    cursor: Option<String>,
    message: Option<String>,
    signal: Option<InstanceMessage>,
}

impl Signaler {
    /// Opens the socket at `url`, whose server shows one of the certificates in `pins`.
    ///
    /// # Errors
    ///
    /// The socket does not open.
    pub async fn open(url: &str, pins: Vec<Fingerprint>) -> Result<Self, SignalerError> {
        let (url, cursor) = (url.to_owned(), None);
        let socket = connect(&url, &pins, "").await?;
        Ok(Self { socket, url, pins, cursor })
    }

    /// Asks the instance what it knows, and returns when it has answered.
    ///
    /// # Errors
    ///
    /// The socket ends, or `within` runs out.
    pub async fn discover(&mut self, within: Duration) -> Result<(), SignalerError> {
        let frame = json!({ "id": SignalId::random(), "signal": { "type": "discover" } });
        let until = Instant::now() + within;
        let asked = timeout_at(until, async {
            let sent = self.socket.send(Message::text(frame.to_string())).await;
            sent.map_err(|_| SignalerError::Lost)?;
            while !matches!(self.next().await?, Some(InstanceMessage::Discovered { .. })) {}
            Ok(())
        });
        asked.await.unwrap_or(Err(SignalerError::Late))
    }

    /// Takes what comes, and answers pings, for as long as `time`.
    ///
    /// # Errors
    ///
    /// The socket ends.
    pub async fn stay(&mut self, time: Duration) -> Result<(), SignalerError> {
        let until = Instant::now() + time;
        loop {
            match timeout_at(until, self.next()).await {
                Ok(signal) => drop(signal?),
                Err(_) => return Ok(()),
            }
        }
    }

    /// Cuts the connection off as a lost network does, and goes on from the cursor over another.
    ///
    /// # Errors
    ///
    /// The socket does not open again.
    pub async fn resume(&mut self) -> Result<(), SignalerError> {
        let after = self.cursor.clone().unwrap_or_default();
        self.socket = connect(&self.url, &self.pins, &after).await?;
        Ok(())
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        let goodbye = async {
            // Whoever is gone already needs none.
            let _ = self.socket.close(None).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }

    /// Returns the next signal; `None` for one that is not the instance's to a client like this,
    /// and for what the socket says of itself.
    async fn next(&mut self) -> Result<Option<InstanceMessage>, SignalerError> {
        loop {
            let text = match self.socket.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(SignalerError::Lost),
                Some(Ok(_)) => continue,
            };
            let Ok(frame) = serde_json::from_str::<Frame>(&text) else { return Ok(None) };
            match frame.notice.as_deref() {
                // The cursor of a signal of one's own is none to read on from.
                Some("stored") => continue,
                Some("history_gone") => return Err(SignalerError::HistoryGone),
                Some("error") => {
                    let message = frame.message.unwrap_or_else(|| "no reason given".to_owned());
                    return Err(SignalerError::Ended(message));
                }
                _ => {}
            }
            self.cursor = frame.cursor.or(self.cursor.take());
            if frame.notice.is_none() {
                return Ok(frame.signal);
            }
        }
    }
}

async fn connect(url: &str, pins: &[Fingerprint], after: &str) -> Result<WebSocket, SocketError> {
    let mark = if url.contains('?') { '&' } else { '?' };
    socket::open(&format!("{url}{mark}after={after}"), pins.to_vec()).await
}
