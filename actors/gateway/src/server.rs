//! The actor `gateway`: keeps the HTTPS server running.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
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
    let running = Running::default();
    let actor = Actor {
        listener: Arc::new(listener),
        workers,
        tls: server_config(&served, ClientCertificates::Ignored),
        state: Data::new(state),
        running: running.clone(),
    };
    supervisor.host("gateway", Restart::default(), Limits::default(), move || actor.clone());
    running
}

/// The server that takes connections now; it outlives a failure of the actor.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<Mutex<Option<ServerHandle>>>);

impl Running {
    /// Stops the server for good; returns when its requests in hand are answered.
    pub(crate) async fn stop(&self) {
        if let Some(server) = self.replace(None) {
            server.stop(true).await;
        }
    }

    fn replace(&self, server: Option<ServerHandle>) -> Option<ServerHandle> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), server)
    }

    fn is_stopped(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

#[derive(Clone)]
struct Actor {
    /// Bound once: clients that arrive during a restart wait in its queue.
    listener: Arc<TcpListener>,
    workers: usize,
    tls: Arc<ServerConfig>,
    state: Data<State>,
    running: Running,
}

impl Worker for Actor {
    fn started(&mut self, me: &Me<Self>) {
        let server = self.server().expect("the listening socket can be shared");
        if let Some(old) = self.running.replace(Some(server.handle())) {
            detached("a replaced server", async move { old.stop(true).await });
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
    fn server(&self) -> std::io::Result<Server> {
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
            .listen_rustls_0_23(self.listener.try_clone()?, ServerConfig::clone(&self.tls))?;
        Ok(server.run())
    }
}
