//! A WebSocket to an agent: texts both ways, pings, and why it ends.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::{self, Instant};
use tokio_tungstenite::tungstenite::Message;

use crate::https::{CallError, Https};
use crate::websocket::WebSocket;

/// A frame that the agent does not take in this time means that it is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// The agent pings every 5 s: one that is silent for so long is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the agent has to close its side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a call's answer goes: `None` when the socket was closed because the transport changes, and
/// the call is to be made anew.
pub(super) type Reply<T> = oneshot::Sender<Result<Option<T>, CallError>>;

/// An open socket.
pub(super) struct AgentSocket {
    agent: Arc<Https>,
    socket: WebSocket,
    last_heard: Instant,
}

/// Returns what the agent sends next; waits for ever while there is no socket.
pub(super) async fn next(socket: Option<&mut AgentSocket>) -> Result<Frame, SocketEnd> {
    match socket {
        Some(socket) => socket.next().await,
        None => future::pending().await,
    }
}

/// What the agent sent.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    Text(String),
    /// All that was sent before the ping of this number has been taken.
    Pong(u64),
}

/// Why a socket is no more.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SocketEnd {
    message: String,
    retry_after: Option<Duration>,
}

impl SocketEnd {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry_after: None }
    }

    /// Returns the end that a text announces, if it does.
    fn announced(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Notice {
            r#type: String,
            message: String,
            retry_after_ms: Option<u64>,
        }
        let notice = serde_json::from_str::<Notice>(text).ok()?;
        (notice.r#type == "error").then(|| Self {
            message: notice.message,
            retry_after: notice.retry_after_ms.map(Duration::from_millis),
        })
    }
}

impl From<SocketEnd> for CallError {
    fn from(end: SocketEnd) -> Self {
        Self::Closed { message: end.message, retry_after: end.retry_after }
    }
}

impl AgentSocket {
    /// Opens the socket at `path`, for messages of at most `limit` bytes. The agent is told nothing
    /// before it has shown a certificate that is trusted, as over REST.
    pub(super) async fn open(
        agent: Arc<Https>,
        path: &str,
        limit: usize,
    ) -> Result<Self, CallError> {
        let socket = agent.open(path, limit).await?;
        Ok(Self { agent, socket, last_heard: Instant::now() })
    }

    /// Whether it leads to this agent.
    pub(super) fn leads_to(&self, agent: &Arc<Https>) -> bool {
        Arc::ptr_eq(&self.agent, agent)
    }

    pub(super) async fn send(&mut self, text: String) -> Result<(), SocketEnd> {
        self.send_frame(Message::text(text)).await
    }

    /// Has the agent send [`Frame::Pong`] once it has taken all that was sent before.
    pub(super) async fn ping(&mut self, number: u64) -> Result<(), SocketEnd> {
        self.send_frame(Message::Ping(number.to_be_bytes().to_vec().into())).await
    }

    async fn send_frame(&mut self, frame: Message) -> Result<(), SocketEnd> {
        match time::timeout(SEND_TIMEOUT, self.socket.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(SocketEnd::new(error.to_string())),
            Err(_) => Err(SocketEnd::new("the agent takes nothing any more")),
        }
    }

    /// Returns what the agent sends next; pings are answered on the way. Loses nothing when the
    /// wait is given up.
    pub(super) async fn next(&mut self) -> Result<Frame, SocketEnd> {
        loop {
            let next = time::timeout_at(self.last_heard + IDLE_TIMEOUT, self.socket.next());
            let frame = next.await.map_err(|_| SocketEnd::new("the agent is silent"))?;
            self.last_heard = Instant::now();
            match frame {
                Some(Ok(Message::Text(text))) => {
                    let end = SocketEnd::announced(&text);
                    return end.map_or_else(|| Ok(Frame::Text(text.to_string())), Err);
                }
                Some(Ok(Message::Pong(number))) => {
                    // The agent may send pongs of its own accord.
                    if let Ok(number) = number.as_ref().try_into() {
                        return Ok(Frame::Pong(u64::from_be_bytes(number)));
                    }
                }
                Some(Ok(Message::Close(_))) | None => {
                    return Err(SocketEnd::new("the agent has closed it"));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(SocketEnd::new(error.to_string())),
            }
        }
    }

    /// Closes it; what the agent says until it has closed its side is dropped.
    pub(super) async fn close(mut self) {
        // To leave before the agent has closed would look like a connection that broke.
        let goodbye = async {
            let _ = self.socket.close(None).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        let _ = time::timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

#[cfg(test)]
mod tests {
    use stream_pki::{
        ClientCertificates, Fingerprint, Identity, ServerIdentity, Trust, self_signed,
        server_config, write_new,
    };
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    #[tokio::test]
    async fn a_socket_to_an_agent_with_another_certificate_says_that_this_is_why() {
        let pair = self_signed("x", &["127.0.0.1".to_owned()]).unwrap();
        let file = std::env::temp_dir().join(format!("agent-socket-{}.pem", std::process::id()));
        let pem = format!("{}{}", pair.certificate, *pair.key);
        write_new(&file, pem.as_bytes(), 0o600).unwrap();
        let identity = Identity::load(&file, &file).unwrap();
        std::fs::remove_file(file).unwrap();
        let named = identity.fingerprint();
        let served = ServerIdentity::new(identity);
        let acceptor = TlsAcceptor::from(server_config(&served, ClientCertificates::Ignored));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        for (pin, is_refused) in [(Fingerprint([7; 32]), true), (named, false)] {
            let agent = Arc::new(Https::new(&url, "t", &Trust::Pins(vec![pin])).unwrap());
            // What comes after the handshake is cut off in any case.
            let accept =
                async { acceptor.accept(listener.accept().await.unwrap().0).await.is_ok() };
            let opened = AgentSocket::open(agent, "/1.0/sessions/x/sockets/master", 1024);
            let (opened, accepted) = tokio::join!(opened, accept);
            let error = opened.map(drop).unwrap_err();
            assert_eq!(matches!(error, CallError::NotPinned), is_refused, "{error}");
            assert_ne!(accepted, is_refused);
        }
    }

    #[test]
    fn an_end_is_announced_by_a_notice_and_by_nothing_else() {
        let text = r#"{"type":"error","code":6,"message":"bye","retry_after_ms":1500}"#;
        let retry_after = Some(Duration::from_millis(1500));
        let end = SocketEnd { message: "bye".to_owned(), retry_after };
        assert_eq!(SocketEnd::announced(text), Some(end));
        let signal = r#"{"cursor":"z-7","generation":3,"signal":{"type":"error","message":"x"}}"#;
        for text in [signal, r#"{"type":"refused","message":"x"}"#, "x"] {
            assert_eq!(SocketEnd::announced(text), None, "{text}");
        }
    }
}
