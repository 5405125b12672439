//! The actor `gateway`: keeps the HTTPS server handle.

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::{self, Server};
use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use rustix::net::{Shutdown, shutdown};
use rustls::{HandshakeKind, ServerConfig};
use stream_bridge::SignalConnection;
use stream_pki::{ClientCertificates, ServerIdentity, server_config};
use stream_supervisor::{Context, Limits, Mode, RestartPolicy, Supervisor, Worker, spawn_detached};
use tokio::sync::watch;

use crate::routes;
use crate::state::State;

/// Starts the actor; it serves on `listener` from now on.
pub(crate) fn start(
    listener: TcpListener,
    workers: usize,
    served: ServerIdentity,
    state: State,
    supervisor: &Supervisor,
) -> ServerHandle {
    let handle = ServerHandle::on(listener);
    let actor = Actor {
        workers,
        tls: server_config(&served, ClientCertificates::Ignored),
        state: Data::new(state),
        handle: handle.clone(),
    };
    supervisor.spawn(
        "gateway",
        Mode::KeepInFlight,
        RestartPolicy::default(),
        Limits::default(),
        move || actor.clone(),
    );
    handle
}

/// What outlives a failure of the actor.
#[derive(Clone)]
pub(crate) struct ServerHandle(Arc<Mutex<Inner>>);

struct Inner {
    /// Bound once: clients that arrive while there is no server wait in its queue. Gone when the
    /// gateway has stopped, so that nobody waits there for ever.
    listener: Option<TcpListener>,
    server: Option<ActiveServer>,
}

/// A server that was started.
struct ActiveServer {
    handle: dev::ServerHandle,
    /// Never says anything: its sender goes away when the server ends.
    end: watch::Receiver<()>,
}

impl ServerHandle {
    fn on(listener: TcpListener) -> Self {
        Self(Arc::new(Mutex::new(Inner { listener: Some(listener), server: None })))
    }

    /// Takes no more connections, for good: who asks for one is refused at once. Those that are
    /// open stay.
    pub(crate) async fn stop_accepting(&self) {
        let (listener, pausing) = {
            let mut inner = self.inner();
            let pausing = inner.server.as_ref().map(|server| server.handle.pause());
            (inner.listener.take(), pausing)
        };
        if let Some(pausing) = pausing {
            pausing.await;
        }
        // A server that only pauses leaves its socket open, and who connects waits for nobody.
        let closed = listener.map(|listener| shutdown(listener, Shutdown::Read));
        if let Some(Err(error)) = closed {
            log::warn!("the listening socket stays open for a moment: {error}");
        }
    }

    /// Stops for good; returns when requests in hand are answered.
    pub(crate) async fn stop(&self) {
        let server = {
            let mut inner = self.inner();
            inner.listener = None;
            inner.server.take()
        };
        if let Some(server) = server {
            server.handle.stop(true).await;
        }
    }

    fn is_stopped(&self) -> bool {
        self.inner().listener.is_none()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct Actor {
    workers: usize,
    tls: Arc<ServerConfig>,
    state: Data<State>,
    handle: ServerHandle,
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        let Some(mut end) = self.serve() else { return };
        let handle = self.handle.clone();
        ctx.spawn(async move {
            let _ = end.changed().await;
            if !handle.is_stopped() {
                panic!("the https server ended by itself");
            }
        });
    }
}

impl Actor {
    /// Starts a server, unless one is running; returns what tells its end, or nothing when the
    /// gateway has stopped.
    fn serve(&self) -> Option<watch::Receiver<()>> {
        // Held throughout: a stop comes either before, or finds the new server.
        let mut inner = self.handle.inner();
        let listener = inner.listener.as_ref()?;
        // One that outlived the last state is kept: to replace it would cut its connections.
        if let Some(ActiveServer { end, .. }) = &inner.server
            && end.has_changed().is_ok()
        {
            return Some(end.clone());
        }
        let server = listener.try_clone().and_then(|listener| self.server(listener));
        let server = server.expect("the listening socket can be shared");
        let (ended, end) = watch::channel(());
        inner.server = Some(ActiveServer { handle: server.handle(), end: end.clone() });
        // Not with `ctx`: requests in hand are answered also when this state is gone.
        spawn_detached("the https server", async move {
            if let Err(error) = server.await {
                log::error!("the https server failed: {error}");
            }
            drop(ended);
        });
        Some(end)
    }

    fn server(&self, listener: TcpListener) -> io::Result<Server> {
        let (state, requests) = (self.state.clone(), self.state.requests.clone());
        let app = move || {
            App::new()
                .app_data(state.clone())
                .app_data(Data::new(SignalConnection::start(&state.bridge)))
                .wrap(NormalizePath::trim())
                .wrap(from_fn(routes::observe))
                .configure(routes::configure)
        };
        let server = HttpServer::new(app)
            .workers(self.workers)
            .on_connect(move |connection, _| {
                if let Some(stream) = connection.downcast_ref::<TlsStream<TcpStream>>() {
                    let kind = stream.get_ref().1.handshake_kind();
                    requests.handshake(kind == Some(HandshakeKind::Resumed));
                }
            })
            // Signals are small and one follows the other: none waits until the last is
            // acknowledged.
            .tcp_nodelay(true)
            .disable_signals()
            .tls_handshake_timeout(Duration::from_secs(5))
            .client_request_timeout(Duration::from_secs(10))
            .client_disconnect_timeout(Duration::from_secs(5))
            .keep_alive(Duration::from_secs(75))
            .max_connections(10_000)
            .max_connection_rate(256)
            .shutdown_timeout(5)
            .listen_rustls_0_23(listener, ServerConfig::clone(&self.tls))?;
        Ok(server.run())
    }
}
