//! What happens to a connection before its first request: it gets a place, tells whose it is, and
//! does its handshake.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustls::{HandshakeKind, ServerConfig};
use stream_pki::only_resuming;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::activity::Activity;
use crate::admission::{AdmissionControl, Crowded, Permit};
use crate::connection::{Connection, Socket};
use crate::limits::Limits;
use crate::proxy_header::{self, Origin};
use crate::refusals::{Refusals, RefusedConnection};

/// Takes connections; clones share the counts.
#[derive(Clone)]
pub(crate) struct Acceptor {
    pub(crate) limits: Limits,
    pub(crate) refusals: Refusals,
    admission: AdmissionControl,
    tls: TlsAcceptor,
    /// For addresses that have made too many full handshakes.
    only_resuming: TlsAcceptor,
}

/// A connection after its handshake.
pub(crate) struct Accepted {
    pub(crate) connection: Connection<TlsStream<Socket>>,
    pub(crate) activity: Rc<Activity>,
    pub(crate) client: SocketAddr,
    /// Its place.
    pub(crate) permit: Permit,
}

impl Acceptor {
    pub(crate) fn new(
        limits: Limits,
        admission: AdmissionControl,
        tls: ServerConfig,
        refusals: Refusals,
    ) -> Self {
        let only_resuming = TlsAcceptor::from(Arc::new(only_resuming(&tls)));
        let tls = TlsAcceptor::from(Arc::new(tls));
        Self { limits, refusals, admission, tls, only_resuming }
    }

    /// Returns the connection once its handshake is done; `None` when nothing came of it, which is
    /// counted.
    pub(crate) async fn accept(&self, tcp: TcpStream) -> Option<Accepted> {
        // Who is gone already needs no word.
        let peer = tcp.peer_addr().ok()?;
        match self.try_accept(tcp, peer).await {
            Ok(accepted) => accepted,
            Err((cause, client)) => {
                self.refusals.note_connection(cause, client);
                None
            }
        }
    }

    async fn try_accept(
        &self,
        mut tcp: TcpStream,
        peer: SocketAddr,
    ) -> Result<Option<Accepted>, (RefusedConnection, IpAddr)> {
        let proxy = peer.ip().to_canonical();
        let mut permit = self.admission.admit().map_err(|why| (why.into(), proxy))?;
        let is_trusted = self.limits.http.trusts(proxy);
        let client = match is_trusted && self.limits.http.proxy_protocol {
            true => match proxy_header::read(&mut tcp).await {
                Ok(Origin::Client(address)) => address.to_canonical(),
                Ok(Origin::Proxy) => return Ok(None),
                Err(_) => return Err((RefusedConnection::ProxyHeader, proxy)),
            },
            false => proxy,
        };
        let refused = |cause: RefusedConnection| (cause, client);
        if !self.limits.http.trusts(client) {
            permit.count_for(client).map_err(|why| refused(why.into()))?;
        }
        let activity = Activity::new(permit.on_request());
        let stream = tokio::select! {
            biased;
            () = permit.gives_way() => return Err(refused(RefusedConnection::GaveWay)),
            stream = self.shake_hands(tcp, client, &activity) => stream.map_err(refused)?,
        };
        let full = stream.get_ref().1.handshake_kind() != Some(HandshakeKind::Resumed);
        permit.end_handshake(full, Instant::now());
        self.refusals.metrics().handshake(!full);
        activity.on_handshake();
        let connection = Connection::new(stream, Rc::clone(&activity), client);
        let client = SocketAddr::new(client, peer.port());
        Ok(Some(Accepted { connection, activity, client, permit }))
    }

    async fn shake_hands(
        &self,
        tcp: TcpStream,
        client: IpAddr,
        activity: &Rc<Activity>,
    ) -> Result<TlsStream<Socket>, RefusedConnection> {
        let begun = timeout(self.limits.first_byte_timeout, tcp.ready(Interest::READABLE)).await;
        begun.map_err(|_| RefusedConnection::Silent)?.map_err(|_| RefusedConnection::Handshake)?;
        // Signals are small and one follows the other: none waits for an acknowledgement. A
        // connection that broke off meanwhile fails where it is read.
        let _ = tcp.set_nodelay(true);
        let exhausted = self.admission.has_exhausted_handshakes(client, Instant::now());
        let tls = if exhausted { &self.only_resuming } else { &self.tls };
        let handshake = tls.accept(Socket::new(tcp, Rc::clone(activity)));
        match timeout(self.limits.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Err(_) => Err(RefusedConnection::SlowHandshake),
            Ok(Err(_)) if exhausted => Err(RefusedConnection::TooManyHandshakes),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(RefusedConnection::Broken)
            }
            Ok(Err(error)) => {
                self.refusals.note_handshake(&error);
                Err(RefusedConnection::Handshake)
            }
        }
    }
}

impl From<Crowded> for RefusedConnection {
    fn from(crowded: Crowded) -> Self {
        match crowded {
            Crowded::Address => Self::Address,
            Crowded::Server => Self::Server,
        }
    }
}
