use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use actix::Message;
use actix_web::dev::ServerHandle;
use actix_web::web::ServiceConfig;
use rustls::ServerConfig;
use stream_metrics::HttpMetrics;
use stream_pki::{ClientCertificates, ServerIdentity, server_config};
use stream_supervisor::{
    Context, Handler, Limits, Mailbox, Mode, Reply, RestartPolicy, Supervisor, Worker,
    spawn_detached,
};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;

use crate::connection_limit::ConnectionLimiter;
use crate::{Config, server};

/// Connections that wait to be accepted; the kernel refuses more.
const BACKLOG: u32 = 1024;

/// Listens on `config.listen` and serves `routes` there.
pub(crate) fn start(
    config: Config,
    served: &ServerIdentity,
    requests: HttpMetrics,
    routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
    supervisor: &Supervisor,
) -> io::Result<(Mailbox<Actor>, SocketAddr)> {
    config.check()?;
    let listener = listen(config.listen)?;
    let address = listener.local_addr()?;
    let listener = SharedListener::new(listener);
    let connections =
        ConnectionLimiter::new(config.connections_per_address, &config.trusted_proxies);
    let tls = server_config(served, ClientCertificates::Ignored);
    let mailbox = supervisor.spawn(
        "api",
        Mode::KeepInFlight,
        RestartPolicy::default(),
        Limits::default(),
        move || {
            let (listener, tls, routes) = (listener.clone(), Arc::clone(&tls), routes.clone());
            let (connections, requests) = (connections.clone(), requests.clone());
            let new_server = Box::new(move |listener, tls| {
                let (connections, requests) = (connections.clone(), requests.clone());
                server::build(listener, tls, config.workers, connections, requests, routes.clone())
            });
            Actor { listener, tls, new_server, server: None }
        },
    );
    Ok((mailbox, address))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// The listening socket. It outlives every server that accepts on it, until it is closed for good.
#[derive(Clone)]
struct SharedListener(Arc<Mutex<Option<TcpListener>>>);

impl SharedListener {
    fn new(listener: TcpListener) -> Self {
        Self(Arc::new(Mutex::new(Some(listener))))
    }

    /// Returns the socket once more, or `None` when it is closed.
    fn listener(&self) -> io::Result<Option<TcpListener>> {
        self.socket().as_ref().map(TcpListener::try_clone).transpose()
    }

    fn is_open(&self) -> bool {
        self.socket().is_some()
    }

    fn close(&self) {
        *self.socket() = None;
    }

    fn socket(&self) -> std::sync::MutexGuard<'_, Option<TcpListener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops serving for good; answered when requests under way are done or their time is up.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Close;

type ServerFactory = dyn Fn(TcpListener, ServerConfig) -> io::Result<actix_web::dev::Server>;

/// State: rebuilt after a crash, seen by nobody else.
pub(crate) struct Actor {
    listener: SharedListener,
    tls: Arc<ServerConfig>,
    new_server: Box<ServerFactory>,
    server: Option<ActiveServer>,
}

struct ActiveServer {
    handle: ServerHandle,
    /// Dropped with the worker: then the server retires.
    _retire_on_drop: oneshot::Sender<Infallible>,
}

impl Worker for Actor {
    /// Opens a server on the listener. One that cannot be opened, or that ends while the listener
    /// is open, is a failure like any other: the next attempt follows after a pause.
    fn started(&mut self, ctx: &Context<Self>) {
        let listener = self.listener.listener().expect("the listening socket can be shared");
        let Some(listener) = listener else { return };
        let server = (self.new_server)(listener, ServerConfig::clone(&self.tls))
            .expect("a server can be opened behind the listening socket");
        let (retire, retired) = oneshot::channel();
        self.server = Some(ActiveServer { handle: server.handle(), _retire_on_drop: retire });

        // Not among the worker's own tasks, which are cut off with it: the server finishes what it
        // has begun.
        let (end, ended) = oneshot::channel();
        spawn_detached("the https server", async move {
            // Nobody listens any more when the worker has been replaced.
            let _ = end.send(server::run(server, retired).await);
        });
        let listener = self.listener.clone();
        ctx.spawn(async move {
            let result = ended.await;
            if listener.is_open() {
                panic!("the https server ended: {result:?}");
            }
        });
    }
}

impl Handler<Close> for Actor {
    fn handle(&mut self, _: &Close, _: &Context<Self>) -> Reply<()> {
        self.listener.close();
        match self.server.take() {
            Some(server) => Reply::later(server.handle.stop(true)),
            None => ().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::OnceLock;
    use std::time::Duration;

    use actix_web::{HttpResponse, web};
    use stream_pki::{Identity, KeyPairPem, Trust, client_config, self_signed};

    use super::*;

    fn served() -> ServerIdentity {
        static PAIR: OnceLock<KeyPairPem> = OnceLock::new();
        let pair = PAIR.get_or_init(|| self_signed("api", &[]).expect("a key pair"));
        let identity = Identity::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes());
        ServerIdentity::new(identity.expect("our own key pair"))
    }

    /// Starts the actor with the test's routes.
    fn start(
        config: Config,
        served: &ServerIdentity,
        supervisor: &Supervisor,
    ) -> io::Result<(Mailbox<Actor>, SocketAddr)> {
        super::start(config, served, HttpMetrics::default(), routes, supervisor)
    }

    /// Without a pool, so that every request knocks anew.
    fn client(served: &ServerIdentity) -> reqwest::Client {
        build(served, |client| client.pool_max_idle_per_host(0))
    }

    fn pooled(served: &ServerIdentity) -> reqwest::Client {
        build(served, |client| client)
    }

    fn build(
        served: &ServerIdentity,
        pool: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> reqwest::Client {
        let trust = Trust::Pins(vec![served.current().fingerprint()]);
        let tls = client_config(&trust, None).expect("a configuration");
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
        pool(client).timeout(Duration::from_secs(10)).build().expect("a client")
    }

    fn config(workers: usize) -> Config {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Config { listen, workers, ..Config::default() }
    }

    fn routes(app: &mut ServiceConfig) {
        app.route("/ping", web::get().to(|| async { HttpResponse::Ok().body("pong") }));
    }

    #[actix::test]
    async fn a_restart_refuses_nobody() {
        let (served, supervisor) = (served(), Supervisor::default());
        let (_mailbox, address) = start(config(1), &served, &supervisor).expect("started");
        let (client, url) = (client(&served), format!("https://{address}/ping"));
        while supervisor.status()[0].restarts < 3 {
            let answer = client.get(&url).send().await.expect("an answer");
            assert_eq!(answer.text().await.expect("a body"), "pong");
            assert!(supervisor.crash("api"));
        }
        assert!(client.get(&url).send().await.is_ok(), "after the last restart");
    }

    #[actix::test]
    async fn a_trailing_slash_is_equal_and_an_unknown_path_is_told_in_the_envelope() {
        let (served, supervisor) = (served(), Supervisor::default());
        let (_mailbox, address) = start(config(1), &served, &supervisor).expect("started");
        let client = client(&served);
        let get = async |path| {
            let answer = client.get(format!("https://{address}{path}")).send().await;
            let answer = answer.expect("an answer");
            (answer.status().as_u16(), answer.text().await.expect("a body"))
        };
        assert_eq!(get("/ping/").await, (200, "pong".to_owned()));
        let (status, body) = get("/nothing?token=secret").await;
        assert_eq!(status, 404);
        let body: serde_json::Value = serde_json::from_str(&body).expect("json");
        assert_eq!((&body["type"], &body["status_code"]), (&"error".into(), &404.into()));
    }

    #[actix::test]
    async fn after_it_is_closed_nobody_is_served_even_if_it_crashes_then() {
        let (served, supervisor) = (served(), Supervisor::default());
        let (mailbox, address) = start(config(1), &served, &supervisor).expect("started");
        let (client, url) = (client(&served), format!("https://{address}/ping"));
        assert!(client.get(&url).send().await.is_ok());
        mailbox.ask(Close).await.expect("closed");
        supervisor.crash("api");
        mailbox.ask(Close).await.expect("closed again");
        let error = client.get(&url).send().await.expect_err("it is closed");
        assert!(error.is_connect(), "{error:?}");
    }

    #[actix::test]
    async fn more_connections_than_an_address_may_have_are_told_so_until_one_is_given_up() {
        let (served, supervisor) = (served(), Supervisor::default());
        let config = Config { connections_per_address: 2, ..config(1) };
        let (_mailbox, address) = start(config, &served, &supervisor).expect("started");
        let url = format!("https://{address}/ping");
        let ask = async |client: &reqwest::Client| {
            let answer = client.get(&url).send().await.expect("an answer");
            (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
        };
        // Each keeps its connection.
        let clients = [(); 2].map(|()| pooled(&served));
        for client in &clients {
            assert_eq!(ask(client).await, (200, false));
            assert_eq!(ask(client).await, (200, false), "on the same connection");
        }
        let late = client(&served);
        assert_eq!(ask(&late).await, (429, true));
        assert_eq!(ask(&clients[0]).await, (200, false), "who is connected goes on");
        drop(clients);
        let again = async { while ask(&late).await.0 == 429 {} };
        tokio::time::timeout(Duration::from_secs(20), again).await.expect("there is a place");
    }

    #[actix::test]
    async fn an_address_in_use_and_a_senseless_number_of_workers_are_refused() {
        let (served, supervisor) = (served(), Supervisor::default());
        let (_mailbox, address) = start(config(1), &served, &supervisor).expect("started");
        let taken = Config { listen: address, ..config(1) };
        let error = start(taken, &served, &supervisor).err().expect("refused");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let error = start(config(0), &served, &supervisor).err().expect("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
