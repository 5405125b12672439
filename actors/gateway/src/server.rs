//! The actor `gateway`: keeps the HTTPS server running.

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use rustls::ServerConfig;
use stream_pki::{ClientCertificates, ServedIdentity, server_config};
use stream_supervisor::{Limits, Me, Restart, Supervisor, Worker, detached};
use tokio::sync::oneshot;

use crate::routes;
use crate::state::State;

/// Starts the actor; it serves on `listener` from now on.
pub(crate) fn start(
    listener: TcpListener,
    workers: usize,
    served: ServedIdentity,
    state: State,
    supervisor: &Supervisor,
) -> Running {
    let running = Running::on(listener);
    let actor = Actor {
        workers,
        tls: server_config(&served, ClientCertificates::Ignored),
        state: Data::new(state),
        running: running.clone(),
    };
    supervisor.host("gateway", Restart::default(), Limits::default(), move || actor.clone());
    running
}

/// What outlives a failure of the actor.
#[derive(Clone)]
pub(crate) struct Running(Arc<Mutex<Parts>>);

struct Parts {
    /// Bound once: clients that arrive during a restart wait in its queue. Gone when the gateway
    /// has stopped, so that nobody waits there for ever.
    listener: Option<TcpListener>,
    /// The server that takes connections now.
    server: Option<ServerHandle>,
}

impl Running {
    fn on(listener: TcpListener) -> Self {
        Self(Arc::new(Mutex::new(Parts { listener: Some(listener), server: None })))
    }

    /// Stops for good; returns when requests in hand are answered.
    pub(crate) async fn stop(&self) {
        let server = {
            let mut parts = self.parts();
            parts.listener = None;
            parts.server.take()
        };
        if let Some(server) = server {
            server.stop(true).await;
        }
    }

    fn is_stopped(&self) -> bool {
        self.parts().listener.is_none()
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct Actor {
    workers: usize,
    tls: Arc<ServerConfig>,
    state: Data<State>,
    running: Running,
}

impl Worker for Actor {
    fn started(&mut self, me: &Me<Self>) {
        let Some((server, replaced)) = self.replace_server() else { return };
        if let Some(replaced) = replaced {
            detached("a replaced server", async move { replaced.stop(true).await });
        }
        // Not with `me`: the server answers its requests in hand also when this state is gone.
        let (ended, end) = oneshot::channel();
        detached("the https server", async move {
            let result = server.await;
            // Without a receiver it was replaced, and its end was asked for.
            let _ = ended.send(result);
        });
        let running = self.running.clone();
        me.spawn(async move {
            let result = end.await;
            if !running.is_stopped() {
                panic!("the https server ended by itself: {result:?}");
            }
        });
    }
}

impl Actor {
    /// Makes a server and returns it with the one it replaces; none after the stop.
    fn replace_server(&self) -> Option<(Server, Option<ServerHandle>)> {
        // Held throughout: a stop comes either before, or finds the new server.
        let mut parts = self.running.parts();
        let listener = parts.listener.as_ref()?.try_clone();
        let server = listener.and_then(|listener| self.server(listener));
        let server = server.expect("the listening socket can be shared");
        let replaced = parts.server.replace(server.handle());
        Some((server, replaced))
    }

    fn server(&self, listener: TcpListener) -> io::Result<Server> {
        let state = self.state.clone();
        let app = move || {
            App::new()
                .app_data(state.clone())
                .wrap(NormalizePath::trim())
                .wrap(from_fn(routes::around))
                .configure(routes::configure)
        };
        let server = HttpServer::new(app)
            .workers(self.workers)
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
