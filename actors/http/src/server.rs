//! The server of a service, and the actor that keeps one running.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use actix_http::{HttpService, Protocol};
use actix_server::ServerBuilder;
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, map_config};
use actix_web::dev::{self, AppConfig, Extensions, ServerHandle};
use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, Error, HttpResponse};
use futures_util::future::LocalBoxFuture;
use parking_lot::Mutex;
use rustix::net::{Shutdown, shutdown};
use rustls::ServerConfig;
use stream_supervisor::{
    Context, Drain, Limits as ActorLimits, Mode, RestartPolicy, Supervisor, Worker, spawn_detached,
};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::acceptor::{Accepted, Acceptor};
use crate::activity::{Watched, keep_looking};
use crate::admission::AdmissionControl;
use crate::connection::{Connection, Socket};
use crate::error::HttpError;
use crate::limits::Limits;
use crate::middleware::{Observer, observe};
use crate::rate_limit::RateLimiter;
use crate::refusals::{Refusals, RefusedConnection};

/// Connections that wait to be accepted; the kernel refuses more.
const BACKLOG: u32 = 1024;

/// Those who wait for the next server wait no longer than this for the one before: connections it
/// has accepted, and that have sent no request so far.
const MAX_FIRST_REQUEST_WAIT: Duration = Duration::from_millis(500);

/// After how long without such a connection there is none.
const QUIET: Duration = Duration::from_millis(100);

/// Where and how a server listens.
pub struct Config {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// A socket that listens already, and outlives this server: it is served in place of `listen`.
    pub inherited: Option<TcpListener>,
    /// Threads that serve connections.
    pub workers: usize,
    pub limits: Limits,
}

/// What a server serves. A path with a slash at its end is equal to the one without.
#[derive(Clone)]
pub struct Service<R> {
    /// The name of the actor.
    pub name: &'static str,
    /// Counts requests and connections, and those that are refused.
    pub refusals: Refusals,
    /// The name that clients know the service by: the one label of metrics that is not `other`.
    pub host: String,
    /// While it orders the service to end, every answer closes its connection: the next request of
    /// that client goes elsewhere, or waits for the next process.
    pub drain: Drain,
    /// Adds the endpoints; called once per worker thread.
    pub routes: R,
}

/// What adds the endpoints of a [`Service`] to a server.
pub trait Routes: Fn(&mut ServiceConfig) + Clone + Send + Unpin + 'static {}

impl<R: Fn(&mut ServiceConfig) + Clone + Send + Unpin + 'static> Routes for R {}

/// A running HTTPS server; clones are the same one.
///
/// ```no_run
/// # fn start(tls: std::sync::Arc<rustls::ServerConfig>) -> std::io::Result<()> {
/// use actix_web::{HttpResponse, web};
/// use stream_http::{Config, Limits, Server, Service};
///
/// let service = Service {
///     name: "pings",
///     refusals: Default::default(),
///     host: "ping.example.org".to_owned(),
///     drain: Default::default(),
///     routes: |app: &mut web::ServiceConfig| {
///         app.route("/ping", web::get().to(async || HttpResponse::Ok()));
///     },
/// };
/// let listen = ([127, 0, 0, 1], 0).into();
/// let config = Config { listen, inherited: None, workers: 1, limits: Limits::default() };
/// let supervisor = stream_supervisor::Supervisor::default();
/// let server = Server::start(config, tls, service, &supervisor)?;
/// println!("https://{}/ping", server.address());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Server {
    address: SocketAddr,
    is_inherited: bool,
    admission: AdmissionControl,
    state: Arc<Mutex<SharedState>>,
}

/// Outlives a failure of the actor.
struct SharedState {
    /// Bound once: clients that arrive while there is no server wait in its queue. `None` when the
    /// server has stopped for good, so that nobody waits there for ever.
    listener: Option<TcpListener>,
    server: Option<ActiveServer>,
}

struct ActiveServer {
    handle: ServerHandle,
    /// Carries no value: its sender is dropped when the server ends.
    ended: watch::Receiver<()>,
}

impl Server {
    /// Listens and serves under `supervisor`, with the certificate and the tickets of `tls`. Needs
    /// a running actix system.
    ///
    /// # Errors
    ///
    /// The address cannot be bound.
    pub fn start<R: Routes>(
        config: Config,
        tls: Arc<ServerConfig>,
        service: Service<R>,
        supervisor: &Supervisor,
    ) -> io::Result<Self> {
        let Config { listen: address, inherited, workers, limits } = config;
        let is_inherited = inherited.is_some();
        let listener = inherited.map_or_else(|| listen(address), Ok)?;
        let address = listener.local_addr()?;
        let admission = AdmissionControl::new(limits.admission(workers));
        let state = SharedState { listener: Some(listener), server: None };
        let state = Arc::new(Mutex::new(state));
        let name = service.name;
        let (state_of_actor, admission_of_actor) = (Arc::clone(&state), admission.clone());
        let actor = Actor {
            state: state_of_actor,
            admission: admission_of_actor,
            workers,
            limits,
            tls,
            service,
        };
        supervisor.spawn(
            name,
            Mode::KeepInFlight,
            RestartPolicy::default(),
            ActorLimits::default(),
            move || actor.clone(),
        );
        Ok(Self { address, is_inherited, admission, state })
    }

    /// Whether the listening socket outlives this server: who connects from its end on waits there
    /// for the next one.
    pub fn is_inherited(&self) -> bool {
        self.is_inherited
    }

    /// Where the server listens, with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more connections, for good: new ones are refused at once, or wait for the next
    /// server where the socket [is inherited](Server::is_inherited). Open ones stay, and their
    /// requests are answered.
    pub async fn stop_accepting(&self) {
        let (listener, pausing) = {
            let mut state = self.state.lock();
            let pausing = state.server.as_ref().map(|server| server.handle.pause());
            (state.listener.take(), pausing)
        };
        if let Some(pausing) = pausing {
            pausing.await;
        }
        if self.is_inherited {
            return;
        }
        // A paused server leaves its socket open, and who connects would wait for nobody.
        let closed = listener.map(|listener| shutdown(listener, Shutdown::Read));
        if let Some(Err(error)) = closed {
            log::warn!(error:%; "the listening socket stays open for a moment");
        }
    }

    /// Returns when no connection is open, or after `longest`. Those who are connected while the
    /// service is [ordered to end](Service::drain) have that long for a request whose answer closes
    /// their connection; one that crosses the end of the server is lost.
    pub async fn connections_closed(&self, longest: Duration) {
        let _ = timeout(longest, self.admission.none_open()).await;
    }

    /// Stops for good. Returns when requests in hand are answered, or when
    /// [`Limits::shutdown_timeout`] has passed.
    pub async fn stop(&self) {
        if self.is_inherited {
            self.stop_accepting().await;
            // A server that stops closes a connection whose first request is on its way.
            let _ = timeout(MAX_FIRST_REQUEST_WAIT, self.admission.none_silent(QUIET)).await;
        }
        let server = {
            let mut state = self.state.lock();
            state.listener = None;
            state.server.take()
        };
        if let Some(server) = server {
            server.handle.stop(true).await;
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

async fn not_found() -> Result<HttpResponse, HttpError> {
    Err(HttpError::NoSuchEndpoint)
}

/// State: rebuilt after a crash, seen by nobody else.
#[derive(Clone)]
struct Actor<R> {
    state: Arc<Mutex<SharedState>>,
    admission: AdmissionControl,
    workers: usize,
    limits: Limits,
    tls: Arc<ServerConfig>,
    service: Service<R>,
}

impl<R: Routes> Worker for Actor<R> {
    /// A server that cannot be started, or that ends by itself, is a failure like any other: the
    /// next attempt follows after a pause.
    fn started(&mut self, ctx: &Context<Self>) {
        let Some(mut ended) = self.serve() else { return };
        let state = Arc::clone(&self.state);
        ctx.spawn(async move {
            let _ = ended.changed().await;
            if state.lock().listener.is_some() {
                panic!("the https server ended by itself");
            }
        });
    }
}

impl<R: Routes> Actor<R> {
    /// Starts a server, unless one is running. Returns what tells its end, or `None` when the
    /// server has stopped for good.
    fn serve(&self) -> Option<watch::Receiver<()>> {
        // Held throughout: a stop comes either before, or finds the new server.
        let mut state = self.state.lock();
        let listener = state.listener.as_ref()?;
        // One that outlived the last actor is kept: to replace it would cut its connections.
        if let Some(ActiveServer { ended, .. }) = &state.server
            && ended.has_changed().is_ok()
        {
            return Some(ended.clone());
        }
        let server = listener.try_clone().and_then(|listener| self.build(listener));
        let server = server.expect("the listening socket can be shared");
        let (running, ended) = watch::channel(());
        state.server = Some(ActiveServer { handle: server.handle(), ended: ended.clone() });
        // Not among the actor's own tasks, which are cancelled with it: requests in hand are
        // answered also when this state is gone.
        spawn_detached("the https server", async move {
            if let Err(error) = server.await {
                log::error!(error:%; "the https server failed");
            }
            drop(running);
        });
        Some(ended)
    }

    /// Builds what `actix_web::HttpServer` builds, but for what comes before the first request, and
    /// for the stream of a connection, which a [`ConnectionCloser`](crate::ConnectionCloser) can
    /// end.
    fn build(&self, listener: TcpListener) -> io::Result<dev::Server> {
        let Self { admission, workers, limits, service, .. } = self;
        let builder = ServerBuilder::new()
            .workers(*workers)
            // Ours come before: they choose who has to go.
            .max_concurrent_connections(limits.max_connections.saturating_mul(2 * workers))
            .shutdown_timeout(limits.shutdown_timeout.as_secs())
            .disable_signals();
        let Service { refusals, host, drain, routes, .. } = service.clone();
        let acceptor =
            Acceptor::new(limits.clone(), admission.clone(), self.tls(), refusals.clone());
        let observer = Observer {
            host,
            http: limits.http.clone(),
            rates: RateLimiter::per_second(limits.http.requests_per_address),
            metrics: refusals.metrics().clone(),
            refusals,
            drain,
        };
        let (observer, limits) = (Data::new(observer), limits.clone());
        let stopping = builder.graceful_shutdown_signal();
        let connections = move || {
            let app = App::new()
                .app_data(observer.clone())
                .wrap(NormalizePath::trim())
                .wrap(from_fn(observe))
                .configure(&routes)
                .default_service(web::to(not_found));
            let app = app.into_factory().map_err(|error: Error| error.error_response());
            let stopping = stopping.clone();
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                // Ours are the deadlines; these answer where they can before ours cut off.
                .client_request_timeout(limits.head_timeout)
                .client_disconnect_timeout(limits.disconnect_timeout)
                .keep_alive(limits.keep_alive)
                // A client that hung up waits for nothing any more.
                .h1_allow_half_closed(false)
                .on_connect_ext(|connection: &ClientConnection, data: &mut Extensions| {
                    connection.add_data(data);
                })
                .finish(map_config(app, |()| AppConfig::default()));
            Connections { acceptor: acceptor.clone(), http }
        };
        Ok(builder.listen(service.name, listener, connections)?.run())
    }

    fn tls(&self) -> ServerConfig {
        let mut tls = ServerConfig::clone(&self.tls);
        tls.alpn_protocols.insert(0, b"http/1.1".to_vec());
        tls
    }
}

/// The stream of a client's connection.
type ClientConnection = Connection<TlsStream<Socket>>;

/// What actix serves on a connection.
type Incoming = (ClientConnection, Protocol, Option<SocketAddr>);

/// Makes what serves the connections of a thread.
struct Connections<F> {
    acceptor: Acceptor,
    http: F,
}

impl<F> ServiceFactory<TcpStream> for Connections<F>
where
    F: ServiceFactory<Incoming, Config = (), Response = ()> + 'static,
    F::InitError: 'static,
{
    type Response = ();
    type Error = F::Error;
    type Config = ();
    type Service = ThreadConnections<F::Service>;
    type InitError = F::InitError;
    type Future = LocalBoxFuture<'static, Result<Self::Service, F::InitError>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let (acceptor, http) = (self.acceptor.clone(), self.http.new_service(()));
        Box::pin(async move {
            let (http, watched) = (Rc::new(http.await?), Rc::<Watched>::default());
            let (looks, limits) = (Rc::downgrade(&watched), acceptor.limits.clone());
            spawn_detached("the deadlines of connections", keep_looking(looks, limits));
            Ok(ThreadConnections { acceptor, http, watched })
        })
    }
}

/// Serves the connections of a thread.
struct ThreadConnections<S> {
    acceptor: Acceptor,
    http: Rc<S>,
    watched: Rc<Watched>,
}

impl<S> dev::Service<TcpStream> for ThreadConnections<S>
where
    S: dev::Service<Incoming, Response = ()> + 'static,
{
    type Response = ();
    type Error = S::Error;
    type Future = LocalBoxFuture<'static, Result<(), S::Error>>;

    fn poll_ready(&self, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.http.poll_ready(cx)
    }

    fn call(&self, tcp: TcpStream) -> Self::Future {
        let (acceptor, http) = (self.acceptor.clone(), Rc::clone(&self.http));
        let watched = Rc::clone(&self.watched);
        Box::pin(async move {
            // Boxed: it is over soon, and connections stay.
            let Some(accepted) = Box::pin(acceptor.accept(tcp)).await else { return Ok(()) };
            let Accepted { connection, activity, client, permit } = accepted;
            watched.add(&activity);
            let cause = tokio::select! {
                biased;
                served = http.call((connection, Protocol::Http1, Some(client))) => return served,
                overdue = activity.overdue() => overdue.into(),
                () = permit.gives_way() => RefusedConnection::GaveWay,
            };
            acceptor.refusals.note_connection(cause, client.ip());
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
