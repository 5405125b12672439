//! One WebSocket: texts both ways, pings, and an end that the peer is told of.

use std::future::pending;
use std::time::Duration;

use actix_web::web::Payload;
use actix_web::{Error, HttpRequest, HttpResponse};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, Closed, Session};
use stream_http::ConnectionCloser;
use stream_protocol::MAX_SIGNAL_BYTES;
use tokio::time::{interval, timeout};

use crate::CloseCause;
use crate::upgrade_body::{OpenGuard, hold_open};

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
    let closer = request.conn_data::<ConnectionCloser>().cloned();
    let (response, open) = hold_open(response, closer);
    let receiver = SocketReceiver { messages, session: session.clone(), limit, _open: open };
    Ok((response, SocketSender(session), receiver))
}

/// Says texts to the peer; clones speak on the same socket.
///
/// Speaks beside a [`SocketReceiver`], which alone tells that the peer has left. Whoever receives
/// answers with [`SocketReceiver::reply`].
#[derive(Clone)]
pub struct SocketSender(Session);

impl SocketSender {
    /// Hands a text to the socket, which keeps a few until the peer takes them. Returns why the
    /// socket ends when the peer takes nothing. One that has left may have said something before,
    /// and clients do: then this waits for ever, and [`SocketReceiver::recv`] tells the end when
    /// all is read.
    pub async fn send(&mut self, text: impl Into<String>) -> Result<(), CloseCause> {
        match Box::pin(delivered(self.0.text(text.into()))).await? {
            Delivery::Taken => Ok(()),
            Delivery::PeerGone => pending().await,
        }
    }
}

/// What became of a frame.
#[derive(Debug, PartialEq)]
enum Delivery {
    /// The socket has it.
    Taken,
    /// The connection is closed. What the peer said before may still be unread.
    PeerGone,
}

/// Waits for a frame to be taken, for [`SEND_TIMEOUT`] at most: a full queue means that the peer
/// does not read. Boxed by its callers, since thousands of sockets do this now and then only.
async fn delivered(
    frame: impl Future<Output = Result<(), Closed>>,
) -> Result<Delivery, CloseCause> {
    match timeout(SEND_TIMEOUT, frame).await {
        Ok(Ok(())) => Ok(Delivery::Taken),
        Ok(Err(Closed)) => Ok(Delivery::PeerGone),
        Err(_) => {
            Err(CloseCause::client_error(CloseCode::Policy, "you take your messages too slowly"))
        }
    }
}

/// Hears what the peer says.
pub struct SocketReceiver {
    messages: AggregatedMessageStream,
    session: Session,
    limit: usize,
    _open: OpenGuard,
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
                    Box::pin(delivered(self.session.pong(&payload))).await?;
                }
                AggregatedMessage::Pong(_) => {}
                AggregatedMessage::Close(_) => return Err(CloseCause::PeerClosed),
            }
        }
    }

    /// Answers what was received. Returns why the socket ends when the peer takes nothing. A peer
    /// that has left misses the answer; [`SocketReceiver::recv`] then returns the rest of what it
    /// said, and the end.
    pub async fn reply(&mut self, text: impl Into<String>) -> Result<(), CloseCause> {
        Box::pin(delivered(self.session.text(text.into()))).await.map(drop)
    }
}

/// Keeps the peer answering; returns only when the peer takes nothing.
pub async fn keep_alive(mut sender: SocketSender) -> CloseCause {
    let mut ticks = interval(PING_INTERVAL);
    loop {
        ticks.tick().await;
        match Box::pin(delivered(sender.0.ping(b""))).await {
            Ok(Delivery::Taken) => {}
            // Told where the peer is heard.
            Ok(Delivery::PeerGone) => return pending().await,
            Err(end) => return end,
        }
    }
}

/// Tells the peer why the socket ends, closes it, and reads on until the peer closes too: unread
/// data would have the system cut the connection before the message is out. Then the connection is
/// closed, on our side first, as clients expect. RFC 6455, section 7.1.1.
pub async fn close(sender: SocketSender, mut receiver: SocketReceiver, end: CloseCause) {
    // A peer that does not read cannot be told.
    let handshake = closing_handshake(sender.0, &mut receiver.messages, end);
    let _ = timeout(CLOSE_TIMEOUT, handshake).await;
    drop(receiver);
}

async fn closing_handshake(
    mut session: Session,
    messages: &mut AggregatedMessageStream,
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

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use actix_web::dev;
    use actix_web::error::PayloadError;
    use actix_web::http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
    use actix_web::test::TestRequest;
    use actix_web::web::Bytes;
    use actix_web::{FromRequest, HttpResponse};
    use futures_util::Stream;
    use futures_util::stream::{self, StreamExt};

    use super::*;

    const TEXT: &[u8] = &[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
    const PING: &[u8] = &[0x89, 0x80, 0, 0, 0, 0];

    type Frames = Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>;

    /// Opens a socket whose peer sends `frames`. The peer reads what the response's body says.
    async fn socket(
        frames: impl Stream<Item = &'static [u8]> + 'static,
    ) -> (HttpResponse, SocketSender, SocketReceiver) {
        let request = TestRequest::default()
            .insert_header((UPGRADE, "websocket"))
            .insert_header((CONNECTION, "upgrade"))
            .insert_header((SEC_WEBSOCKET_VERSION, "13"))
            .insert_header((SEC_WEBSOCKET_KEY, "x3JJHMbDL1EzLkh9GBhXDw=="))
            .to_http_request();
        let payload: Frames = Box::pin(frames.map(|frame| Ok(Bytes::from_static(frame))));
        let mut payload = dev::Payload::Stream { payload };
        let payload = Payload::from_request(&request, &mut payload).await.expect("a payload");
        open(&request, payload).expect("a socket")
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_a_peer_that_has_left_is_followed_by_what_it_said_and_by_its_end() {
        let (connection, _sender, mut receiver) = socket(stream::iter([TEXT, TEXT])).await;
        assert_eq!(receiver.recv().await.expect("a text"), "hi");
        drop(connection);
        let answered = timeout(SEND_TIMEOUT * 2, receiver.reply("stored")).await;
        assert_eq!(answered.expect("it does not wait"), Ok(()));
        assert_eq!(receiver.recv().await.expect("the other text"), "hi");
        assert_eq!(receiver.recv().await, Err(CloseCause::PeerClosed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_has_left_may_have_said_something_before() {
        let (connection, mut sender, mut receiver) = socket(stream::iter([TEXT])).await;
        drop(connection);
        let told = timeout(SEND_TIMEOUT * 2, sender.send("an offer")).await;
        assert!(told.is_err(), "the end comes from the receiver");
        assert_eq!(receiver.recv().await.expect("a text"), "hi");
        assert_eq!(receiver.recv().await, Err(CloseCause::PeerClosed));
    }

    fn is_too_slow(end: &CloseCause) -> bool {
        matches!(end, CloseCause::ByUs { close: CloseCode::Policy, .. })
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_pings_and_never_reads_is_cut() {
        let (_connection, _sender, mut receiver) =
            socket(stream::iter([PING; 100]).chain(stream::pending())).await;
        let end = timeout(SEND_TIMEOUT * 2, receiver.recv()).await.expect("in time");
        assert!(is_too_slow(&end.expect_err("an end")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_no_ping_is_cut() {
        let (_connection, mut sender, _receiver) = socket(stream::pending()).await;
        while timeout(PING_INTERVAL, sender.0.ping(b"")).await.is_ok() {}
        let end = timeout(SEND_TIMEOUT * 2, keep_alive(sender)).await.expect("in time");
        assert!(is_too_slow(&end));
    }
}
