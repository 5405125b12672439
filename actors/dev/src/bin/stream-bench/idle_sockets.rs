//! Signaling sockets that wait for what nobody says, as the page keeps them: with reconnect tokens
//! and a cursor, and opened again when they are lost.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use rustls::{ClientConfig, HandshakeKind};
use serde_json::Value;
use stream_supervisor::spawn_detached;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
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

struct SocketClient {
    from: Ipv4Addr,
    port: u16,
    /// With tickets of its own.
    tls: Arc<ClientConfig>,
    /// What the page would put into the address of the next socket.
    path: String,
    token: RefCell<Option<String>>,
    cursor: RefCell<String>,
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Opens a socket for each of `paths`, which have their queries. Returns once all are open; they
/// stay until their server ends, and then come back to it if `reopen`.
pub(super) async fn open_all(
    port: u16,
    paths: impl IntoIterator<Item = String>,
    counts: &Rc<Counts>,
    reopen: bool,
) -> anyhow::Result<()> {
    let before = counts.open.get();
    let general = client(hybrid(), true);
    let open = |(n, path)| {
        let mut tls = general.clone();
        tls.resumption = rustls::client::Resumption::in_memory_sessions(2);
        let from = address(3, (before + n) / PER_ADDRESS);
        let (token, cursor) = Default::default();
        let client = SocketClient { from, port, tls: Arc::new(tls), path, token, cursor };
        async move {
            let socket = client.open().await?;
            counts.open.set(counts.open.get() + 1);
            spawn_detached("an idle socket", client.stay(socket, Rc::clone(counts), reopen));
            anyhow::Ok(())
        }
    };
    let clients = stream::iter(paths.into_iter().enumerate().map(open));
    clients.buffer_unordered(OPENING).try_collect().await
}

impl SocketClient {
    async fn open(&self) -> anyhow::Result<Socket> {
        let tls = connect_tls(self.from, self.port, &self.tls).await?;
        let url = format!("wss://127.0.0.1:{}{}", self.port, self.address());
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(4096);
        Ok(client_async_with_config(url, tls, Some(config)).await?.0)
    }

    fn address(&self) -> String {
        let (token, cursor) = (self.token.borrow(), self.cursor.borrow());
        match (&*token, self.path.split_once('?')) {
            (Some(token), Some((path, _))) => {
                format!("{path}?token={token}&tickets=1&after={cursor}")
            }
            _ => format!("{}&tickets=1&after={cursor}", self.path),
        }
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
            let Message::Text(text) = message else { continue };
            let message: Value = serde_json::from_str(&text).unwrap_or_default();
            if let ("ticket", Some(token)) =
                (message["type"].as_str().unwrap_or_default(), message["token"].as_str())
            {
                *self.token.borrow_mut() = Some(token.to_owned());
            }
            if let Some(cursor) = message["cursor"].as_str() {
                *self.cursor.borrow_mut() = cursor.to_owned();
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
