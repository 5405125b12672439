//! A TCP proxy before a server, or before several alike, that breaks connections as networks do.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::Context;
use stream_supervisor::spawn_detached;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::ports;

/// Passes on what comes to [`FaultyProxy::port`], until it is severed: then what is connected
/// breaks, and who connects is refused. With several servers behind it, each connection goes to the
/// next one that takes it.
pub struct FaultyProxy {
    port: u16,
    to: Servers,
    whole: Arc<watch::Sender<bool>>,
}

impl FaultyProxy {
    /// Starts a proxy before `port` of the loopback. Needs a running actix system.
    pub async fn to(port: u16) -> anyhow::Result<Self> {
        Self::among(&[port]).await
    }

    /// Starts a proxy before all of `ports`, as a balancer does.
    pub async fn among(ports: &[u16]) -> anyhow::Result<Self> {
        let to = Servers::at(ports);
        let proxy = Self { port: ports::free(), to, whole: Arc::default() };
        proxy.restore().await?;
        Ok(proxy)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
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
        let (to, whole) = (self.to.clone(), self.whole.subscribe());
        spawn_detached("a proxy", async move {
            let mut cut = whole.clone();
            tokio::select! {
                _ = cut.wait_for(|whole| !whole) => {}
                () = accept(listener, to, whole) => {}
            }
        });
        Ok(())
    }
}

async fn accept(listener: TcpListener, to: Servers, whole: watch::Receiver<bool>) {
    while let Ok((near, _)) = listener.accept().await {
        let (mut cut, to) = (whole.clone(), to.clone());
        spawn_detached("a connection through a proxy", async move {
            tokio::select! {
                _ = cut.wait_for(|whole| !whole) => {}
                () = pass(near, to) => {}
            }
        });
    }
}

/// Ends when either side does; how is for those at its ends to see.
async fn pass(mut near: TcpStream, to: Servers) {
    let Some(mut far) = to.connect().await else { return };
    let nodelay = near.set_nodelay(true).and(far.set_nodelay(true));
    if nodelay.is_ok() {
        let _ = copy_bidirectional(&mut near, &mut far).await;
    }
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
