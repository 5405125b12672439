//! Sockets that wait for what nobody says, opened again when they are lost: signaling sockets as
//! the page keeps them, with reconnect tokens and a cursor, and those of instances for their
//! commands.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use rustls::{ClientConfig, HandshakeKind};
use serde_json::Value;
use stream_supervisor::spawn_detached;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Request;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::sources::{address, connect_tls};
use super::tls_client::{client, hybrid};

/// Sockets per address: fewer than the handshakes that it may have under way.
const PER_ADDRESS: usize = 25;

/// Sockets that are opened at the same time.
const OPENING: usize = 16;

/// As the page has it: twice as long after each failure.
const REOPEN_AFTER: Duration = Duration::from_millis(500);
const REOPENED_MOST_SELDOM: Duration = Duration::from_secs(30);

/// How long an attempt may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// What all of them have come to.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) open: Cell<usize>,
    /// Those that were lost and are open again; how many of them resumed, and when the last came.
    pub(super) back: Cell<usize>,
    pub(super) resumed: Cell<usize>,
    pub(super) last: Cell<Option<Instant>>,
    /// Attempts that came to nothing.
    pub(super) failed: Cell<usize>,
}

/// Whose socket it is.
pub(super) enum Owner {
    Page {
        path: String,
        /// What the page would put into the address of the next socket.
        token: RefCell<Option<String>>,
        cursor: RefCell<String>,
    },
    /// Says that it runs when its socket is open.
    Instance { path: String, token: String },
}

struct SocketClient {
    from: Ipv4Addr,
    port: u16,
    /// With tickets of its own.
    tls: Arc<ClientConfig>,
    owner: Owner,
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Opens a socket for each of `owners`. Returns once all are open; they stay until their server
/// ends, and then come back to it if `reopen`.
pub(super) async fn open_all(
    port: u16,
    owners: impl IntoIterator<Item = Owner>,
    counts: &Rc<Counts>,
    reopen: bool,
) -> anyhow::Result<()> {
    let before = counts.open.get();
    let general = client(hybrid(), true);
    let open = |(n, owner)| {
        let mut tls = general.clone();
        tls.resumption = rustls::client::Resumption::in_memory_sessions(2);
        let from = address(3, (before + n) / PER_ADDRESS);
        let client = SocketClient { from, port, tls: Arc::new(tls), owner };
        async move {
            let socket = client.open().await?;
            counts.open.set(counts.open.get() + 1);
            spawn_detached("an idle socket", client.stay(socket, Rc::clone(counts), reopen));
            anyhow::Ok(())
        }
    };
    let clients = stream::iter(owners.into_iter().enumerate().map(open));
    clients.buffer_unordered(OPENING).try_collect().await
}

impl Owner {
    /// A page, whose `path` has its query.
    pub(super) fn page(path: String) -> Self {
        Self::Page { path, token: RefCell::default(), cursor: RefCell::default() }
    }

    fn request(&self, port: u16) -> anyhow::Result<Request<()>> {
        let url = |path: &str| format!("wss://127.0.0.1:{port}{path}").into_client_request();
        match self {
            Self::Page { path, token, cursor } => {
                let (token, cursor) = (token.borrow(), cursor.borrow());
                Ok(match (&*token, path.split_once('?')) {
                    (Some(token), Some((path, _))) => {
                        url(&format!("{path}?token={token}&tickets=1&after={cursor}"))
                    }
                    _ => url(&format!("{path}&tickets=1&after={cursor}")),
                }?)
            }
            Self::Instance { path, token } => {
                let mut request = url(path)?;
                let authorization = format!("Macaroon root={token}").parse()?;
                request.headers_mut().insert(AUTHORIZATION, authorization);
                Ok(request)
            }
        }
    }

    fn hear(&self, text: &str) {
        let Self::Page { token, cursor, .. } = self else { return };
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        if message["type"] == "ticket"
            && let Some(new) = message["token"].as_str()
        {
            *token.borrow_mut() = Some(new.to_owned());
        }
        if let Some(new) = message["cursor"].as_str() {
            *cursor.borrow_mut() = new.to_owned();
        }
    }
}

impl SocketClient {
    async fn open(&self) -> anyhow::Result<Socket> {
        let tls = connect_tls(self.from, self.port, &self.tls).await?;
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(4096);
        let request = self.owner.request(self.port)?;
        let (mut socket, _) = client_async_with_config(request, tls, Some(config)).await?;
        if let Owner::Instance { .. } = self.owner {
            socket.send(Message::text(r#"{"status":"running"}"#)).await?;
        }
        Ok(socket)
    }

    async fn stay(self, mut socket: Socket, counts: Rc<Counts>, reopen: bool) {
        loop {
            self.listen(&mut socket).await;
            drop(socket);
            counts.open.set(counts.open.get() - 1);
            if !reopen {
                return;
            }
            socket = self.reopen(&counts).await;
            counts.open.set(counts.open.get() + 1);
            counts.back.set(counts.back.get() + 1);
            let handshake = socket.get_ref().get_ref().1.handshake_kind();
            let resumed = usize::from(handshake == Some(HandshakeKind::Resumed));
            counts.resumed.set(counts.resumed.get() + resumed);
            counts.last.set(Some(Instant::now()));
        }
    }

    /// Returns when the socket has ended. Pings are answered on the way.
    async fn listen(&self, socket: &mut Socket) {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message {
                self.owner.hear(&text);
            }
        }
    }

    async fn reopen(&self, counts: &Counts) -> Socket {
        let mut pause = REOPEN_AFTER;
        loop {
            sleep(pause).await;
            if let Ok(Ok(socket)) = timeout(OPEN_TIMEOUT, self.open()).await {
                return socket;
            }
            counts.failed.set(counts.failed.get() + 1);
            pause = (pause * 2).min(REOPENED_MOST_SELDOM);
        }
    }
}
