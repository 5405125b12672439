//! A TCP proxy before a server, or before several alike, that breaks connections as networks do.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use stream_supervisor::spawn_detached;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::ports;

/// What is under way on one side of a connection, at most: chunks of [`CHUNK`].
const UNDER_WAY: usize = 256;

/// The most that is passed on at once, in bytes.
const CHUNK: usize = 16 * 1024;

/// Passes on what comes to [`FaultyProxy::port`], until it is severed: then what is connected
/// breaks, and who connects is refused. With several servers behind it, each connection goes to the
/// next one that takes it.
pub struct FaultyProxy {
    port: u16,
    route: Route,
    whole: Arc<watch::Sender<bool>>,
}

/// Where connections go, and how.
#[derive(Clone)]
struct Route {
    to: Servers,
    /// In milliseconds.
    latency: Arc<AtomicU64>,
}

impl FaultyProxy {
    /// Starts a proxy before `port` of the loopback. Needs a running actix system.
    pub async fn to(port: u16) -> anyhow::Result<Self> {
        Self::among(&[port]).await
    }

    /// Starts a proxy before all of `ports`, as a balancer does.
    pub async fn among(ports: &[u16]) -> anyhow::Result<Self> {
        let route = Route { to: Servers::at(ports), latency: Arc::default() };
        let proxy = Self { port: ports::free(), route, whole: Arc::default() };
        proxy.restore().await?;
        Ok(proxy)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Has everything from now on take `latency` longer each way, also on what is connected.
    pub fn delay(&self, latency: Duration) {
        let milliseconds = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        self.route.latency.store(milliseconds, Relaxed);
    }

    /// Breaks every connection, and refuses new ones from now on.
    pub fn sever(&self) {
        self.whole.send_replace(false);
    }

    /// Lets connections through again.
    pub async fn restore(&self) -> anyhow::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await;
        let listener = listener.context("the proxy cannot listen")?;
        self.whole.send_replace(true);
        let (route, whole) = (self.route.clone(), self.whole.subscribe());
        spawn_detached("a proxy", async move {
            let mut cut = whole.clone();
            tokio::select! {
                _ = cut.wait_for(|whole| !whole) => {}
                () = accept(listener, route, whole) => {}
            }
        });
        Ok(())
    }
}

async fn accept(listener: TcpListener, route: Route, whole: watch::Receiver<bool>) {
    while let Ok((near, _)) = listener.accept().await {
        let (mut cut, route) = (whole.clone(), route.clone());
        spawn_detached("a connection through a proxy", async move {
            tokio::select! {
                _ = cut.wait_for(|whole| !whole) => {}
                () = pass(near, route) => {}
            }
        });
    }
}

/// Ends when both sides have; how is for those at its ends to see.
async fn pass(near: TcpStream, Route { to, latency }: Route) {
    let Some(far) = to.connect().await else { return };
    if near.set_nodelay(true).and(far.set_nodelay(true)).is_err() {
        return;
    }
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let (there, back) = (pump(from_near, to_far, &latency), pump(from_far, to_near, &latency));
    // One that breaks breaks the other; one that only ends lets the other end by itself.
    let _ = tokio::try_join!(there, back);
}

/// Passes on all that comes, each after its time. What is slow keeps its order, and holds up the
/// sender once too much is under way.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    latency: &AtomicU64,
) -> io::Result<()> {
    let (sender, mut under_way) = mpsc::channel(UNDER_WAY);
    let take = async move {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            if from.read_buf(&mut chunk).await? == 0 {
                return Ok(());
            }
            let due = Instant::now() + Duration::from_millis(latency.load(Relaxed));
            if sender.send((due, chunk)).await.is_err() {
                return Ok(());
            }
        }
    };
    let give = async move {
        while let Some((due, chunk)) = under_way.recv().await {
            sleep_until(due).await;
            to.write_all(&chunk).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(take, give).map(drop)
}

/// The servers at the far end, and whose turn it is.
#[derive(Clone)]
struct Servers {
    all: Arc<[SocketAddr]>,
    turn: Arc<AtomicUsize>,
}

impl Servers {
    fn at(ports: &[u16]) -> Self {
        let all = ports.iter().map(|port| (Ipv4Addr::LOCALHOST, *port).into());
        Self { all: all.collect(), turn: Arc::default() }
    }

    /// Connects to the next one that takes the connection.
    async fn connect(&self) -> Option<TcpStream> {
        let turn = self.turn.fetch_add(1, Relaxed);
        for server in self.all.iter().cycle().skip(turn % self.all.len()).take(self.all.len()) {
            if let Ok(stream) = TcpStream::connect(server).await {
                return Some(stream);
            }
        }
        None
    }
}
