//! One WebSocket: texts both ways, pings, and an end that the peer is told of.

use std::future::pending;
use std::time::Duration;

use actix_web::web::Payload;
use actix_web::{Error, HttpRequest, HttpResponse};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, Session};
use stream_protocol::MAX_SIGNAL_BYTES;
use tokio::time::{interval, timeout};

use crate::CloseCause;

const PING_INTERVAL: Duration = Duration::from_secs(5);

/// A peer that is silent for so long, pongs included, is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// A peer that takes nothing for so long, while the few texts that are kept for it wait, is cut.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a peer has to take the last message and to close its side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What an envelope may add to a signal, in bytes.
const ENVELOPE_OVERHEAD: usize = 1024;

/// Upgrades a request to a socket whose peer sends signals. Refuses one that asks for no WebSocket.
pub fn open(
    request: &HttpRequest,
    payload: Payload,
) -> Result<(HttpResponse, SocketSender, SocketReceiver), Error> {
    open_for(request, payload, MAX_SIGNAL_BYTES + ENVELOPE_OVERHEAD)
}

/// Upgrades `request` to a WebSocket that takes messages of at most `limit` bytes.
pub fn open_for(
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<(HttpResponse, SocketSender, SocketReceiver), Error> {
    let (response, session, messages) = actix_ws::handle(request, payload)?;
    let messages = messages.max_frame_size(limit).aggregate_continuations();
    let messages = messages.max_continuation_size(limit);
    Ok((response, SocketSender(session.clone()), SocketReceiver { messages, session, limit }))
}

/// Says texts to the peer; clones speak on the same socket.
#[derive(Clone)]
pub struct SocketSender(Session);

impl SocketSender {
    /// Hands a text to the socket, which keeps a few until the peer takes them. Returns why the
    /// socket ends when the peer takes nothing. One that has left may have said something before,
    /// and clients do: then this waits for ever, and [`SocketReceiver::recv`] tells the end when
    /// all is read.
    pub async fn send(&mut self, text: impl Into<String>) -> Result<(), CloseCause> {
        match timeout(SEND_TIMEOUT, self.0.text(text.into())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => pending().await,
            Err(_) => Err(CloseCause::client_error(
                CloseCode::Policy,
                "you take your messages too slowly",
            )),
        }
    }
}

/// Hears what the peer says.
pub struct SocketReceiver {
    messages: AggregatedMessageStream,
    session: Session,
    limit: usize,
}

impl SocketReceiver {
    /// Returns the next text, and answers pings on the way; or why there will be none any more.
    pub async fn recv(&mut self) -> Result<String, CloseCause> {
        loop {
            let message = match timeout(IDLE_TIMEOUT, self.messages.recv()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return Err(CloseCause::broken_frame(&error, self.limit)),
                // Cut off, if it has said nothing before.
                Ok(None) => return Err(CloseCause::PeerClosed),
                Err(_) => return Err(CloseCause::PeerTimedOut),
            };
            match message {
                AggregatedMessage::Text(text) => return Ok(text.into()),
                AggregatedMessage::Binary(_) => {
                    return Err(CloseCause::client_error(
                        CloseCode::Unsupported,
                        "a message is a text frame",
                    ));
                }
                AggregatedMessage::Ping(payload) => {
                    if self.session.pong(&payload).await.is_err() {
                        return Err(CloseCause::PeerClosed);
                    }
                }
                AggregatedMessage::Pong(_) => {}
                AggregatedMessage::Close(_) => return Err(CloseCause::PeerClosed),
            }
        }
    }
}

/// Keeps the peer answering, for ever.
pub async fn keep_alive(mut sender: SocketSender) -> CloseCause {
    let mut ticks = interval(PING_INTERVAL);
    loop {
        ticks.tick().await;
        if sender.0.ping(b"").await.is_err() {
            // That the peer has left is told where it is heard.
            return pending().await;
        }
    }
}

/// Tells the peer why the socket ends, closes it, and reads on until the peer closes too: unread
/// data would have the system cut the connection before the message is out.
pub async fn close(sender: SocketSender, receiver: SocketReceiver, end: CloseCause) {
    // A peer that does not read cannot be told.
    let _ = timeout(CLOSE_TIMEOUT, closing_handshake(sender.0, receiver.messages, end)).await;
}

async fn closing_handshake(
    mut session: Session,
    mut messages: AggregatedMessageStream,
    end: CloseCause,
) {
    let (message, reason) = end.close_frame();
    let Some(message) = message else {
        // The peer has closed already: it only waits for the answer to that.
        let _ = session.close(Some(reason)).await;
        return;
    };
    if session.text(message).await.is_err() || session.close(Some(reason)).await.is_err() {
        return;
    }
    while let Some(Ok(message)) = messages.recv().await {
        if matches!(message, AggregatedMessage::Close(_)) {
            return;
        }
    }
}
