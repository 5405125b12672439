//! The actor: makes the connection to NATS and keeps it, and lends it to whoever asks.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use async_nats::Event;
use async_nats::jetstream::context::AccountErrorKind;
use parking_lot::Mutex;
use stream_pki::FileWatch;
use stream_protocol::subjects::NatsUser;
use stream_supervisor::{Context, Handler, Reply, Worker};
use tokio::time::Instant;

use crate::buckets::Store;
use crate::connect::{self, ConnectConfig, RECONNECT, check_server};
use crate::connection::{Connection, with_timeout};
use crate::connection_state::{ConnectionState, FIRST_CONNECT, Ready};
use crate::log_watch::LogWatch;
use crate::metrics::NatsMetrics;
use crate::reached::Reached;
use crate::store_clock::StoreClock;
use crate::store_health::{StoreHealth, switched_off};
use crate::subscriptions::{Route, Subscriptions};
use crate::tls_files::TlsFiles;
use crate::{BridgeError, Config};

/// Requests and hints of one subject that wait to be taken.
const WAITING_REQUESTS: usize = 65_536;

/// How often the connection is checked, beside each event that the client tells.
const CONNECTION_CHECK: Duration = Duration::from_secs(1);

/// How often the server is asked whether its store is on.
const STORE_LOOK: Duration = Duration::from_secs(2);

/// How often the certificate files are looked at while the connection stands.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(2);

/// How often the server is asked for its time.
const CLOCK_LOOK: Duration = Duration::from_secs(10);

/// What a restart of the actor keeps, so that nobody who asks or is asked over NATS notices it.
#[derive(Clone)]
pub(crate) struct SharedState {
    subscriptions: Subscriptions,
    /// The connection as it was ready last.
    saved: Arc<Mutex<Option<Ready<Store>>>>,
    /// Whether the store works, as all connections of this process have seen it.
    health: StoreHealth,
    pub(crate) clock: StoreClock,
    pub(crate) metrics: NatsMetrics,
    pub(crate) reached: Reached,
    log_watch: LogWatch,
    tls: Arc<TlsFiles>,
}

impl SharedState {
    pub(crate) fn new(tls: TlsFiles, metrics: NatsMetrics) -> Self {
        Self {
            subscriptions: Subscriptions::default(),
            saved: Arc::default(),
            health: StoreHealth::default(),
            clock: StoreClock::default(),
            log_watch: LogWatch::default(),
            metrics,
            reached: Reached::default(),
            tls: Arc::new(tls),
        }
    }
}

pub(crate) struct Actor {
    user: NatsUser,
    config: Config,
    /// The name of this unit, as the server shows it.
    unit: String,
    shared: SharedState,
    connection: ConnectionState<Connection, Store>,
    /// When the connection was lost, as long as it is.
    lost_at: Option<Instant>,
    certificates: Option<FileWatch>,
}

/// The first connection was made.
#[derive(Message)]
#[rtype(result = "()")]
struct ClientConnected(Connection);

/// Has the actor find out whether the connection was lost, or made again.
#[derive(Clone, Message)]
#[rtype(result = "()")]
struct CheckConnection;

/// Has the actor find out whether the store is on.
#[derive(Clone, Message)]
#[rtype(result = "()")]
struct LookAtStore;

/// Has the actor ask the store for its time.
#[derive(Clone, Message)]
#[rtype(result = "()")]
struct ReadClock;

/// Why the store is off, if it is.
#[derive(Message)]
#[rtype(result = "()")]
struct StoreSeen(Option<String>);

/// The store was checked.
#[derive(Message)]
#[rtype(result = "()")]
struct StoreReady {
    store: Store,
    checked: u64,
}

/// The server says that it is about to end.
#[derive(Message)]
#[rtype(result = "()")]
struct LameDuck;

/// An attempt to connect, or to check the store, failed; the next one follows.
#[derive(Message)]
#[rtype(result = "()")]
struct ConnectFailed(String);

impl Actor {
    /// Goes on with the saved connection if it is still there.
    pub(crate) fn new(user: NatsUser, config: Config, unit: String, shared: SharedState) -> Self {
        let saved = shared.saved.lock().clone();
        let saved = saved.filter(|ready| ready.store.connection().is_connected());
        let connection = saved.map_or_else(ConnectionState::new, ConnectionState::Ready);
        Self { user, config, unit, shared, connection, lost_at: None, certificates: None }
    }

    /// Returns the store to ask, or why there is none.
    pub(crate) fn store(&self) -> Result<&Store, BridgeError> {
        self.connection.store(|store| store.connection().is_connected())
    }

    /// Returns the store that was checked, or why there is none.
    pub(crate) fn ready(&self) -> Result<&Ready<Store>, String> {
        self.connection.ready()
    }

    /// Returns what this process is called.
    pub(crate) fn unit(&self) -> &str {
        &self.unit
    }

    /// Returns what to connect with once more.
    pub(crate) fn connect_config(&self) -> ConnectConfig {
        let (user, config, unit) = (self.user, self.config.clone(), self.unit.clone());
        let (health, log_watch) = (self.shared.health.clone(), self.shared.log_watch.clone());
        let (tls, subscription_capacity) = (Arc::clone(&self.shared.tls), WAITING_REQUESTS);
        ConnectConfig { user, config, tls, unit, health, log_watch, subscription_capacity }
    }

    /// Returns what is known of the store beside its being connected.
    pub(crate) fn health(&self) -> &StoreHealth {
        &self.shared.health
    }

    /// Answers with what `work` makes of the store, or why there is none; metrics know it as
    /// `call`.
    pub(crate) fn with<T: 'static>(
        &self,
        call: &'static str,
        work: impl AsyncFnOnce(&Store) -> Result<T, BridgeError> + 'static,
    ) -> Reply<Result<T, BridgeError>> {
        let metrics = self.shared.metrics.clone();
        match self.store().cloned() {
            Ok(store) => {
                Reply::later(async move { metrics.observe(call, Box::pin(work(&store))).await })
            }
            Err(error) => Err(error).into(),
        }
    }

    /// Answers as [`Actor::with`] does, with [`BridgeError::TimedOut`] as soon as the connection
    /// was lost and made again: the server does not answer then what it was asked before.
    pub(crate) fn with_store<T: 'static>(
        &self,
        call: &'static str,
        work: impl AsyncFnOnce(&Store) -> Result<T, BridgeError> + 'static,
    ) -> Reply<Result<T, BridgeError>> {
        self.with(call, async move |store| {
            store.connection().fail_on_reconnect(Box::pin(work(store))).await
        })
    }

    /// Has requests on `subject` told to `route`, now or once NATS is connected.
    pub(crate) fn serve(&self, subject: String, route: Route) {
        self.shared.subscriptions.add(subject.clone(), route);
        if let Ok(ready) = self.ready() {
            let client = &ready.store.connection().client;
            self.shared.subscriptions.subscribe(client, &subject);
        }
    }

    pub(crate) fn stop_serving(&self, subject: &str) {
        self.shared.subscriptions.remove(subject);
    }

    /// The client, if there is one.
    fn client(&self) -> Option<&Connection> {
        match &self.connection {
            ConnectionState::Connecting { .. } => None,
            ConnectionState::Preparing { client, .. } => Some(client),
            ConnectionState::Ready(Ready { store, .. }) | ConnectionState::Stale { store, .. } => {
                Some(store.connection())
            }
        }
    }

    /// Has the actor fail, and forget the connection, when the client's task has ended: nothing
    /// else would make a connection then.
    fn watch_client_task(&self, client: Connection, ctx: &Context<Self>) {
        let (shared, context) = (self.shared.clone(), ctx.clone());
        ctx.spawn(async move {
            client.ended().await;
            *shared.saved.lock() = None;
            context.fail("the task of the nats connection has ended");
        });
    }

    /// Has the certificate files looked at for as long as the actor lives. A thread of its own
    /// reads them, since this one serves others, however slow the disk.
    fn watch_certificates(&mut self) {
        let tls = Arc::clone(&self.shared.tls);
        self.certificates = FileWatch::start(CERTIFICATE_LOOK, move || tls.refresh())
            .inspect_err(|error| log::error!(error:%; "nats: the certificates are not looked at"))
            .ok();
    }

    /// Has the store checked for the connect `checked`, as often as it takes.
    fn prepare(&self, client: Connection, checked: u64, ctx: &Context<Self>) {
        let (user, replicas, context) = (self.user, self.config.replicas, ctx.clone());
        let clock = self.shared.clock.clone();
        ctx.spawn(async move {
            for attempt in 1.. {
                // The server may be another one than at the first connect.
                let checked_server = check_server(&client.client.server_info());
                let prepare = async || Store::prepare(client.clone(), user, replicas).await;
                let prepared = match checked_server {
                    Ok(()) => prepare().await,
                    Err(cause) => Err(cause),
                };
                match prepared {
                    Ok(store) => {
                        clock.read(&client.client).await;
                        return context.tell(StoreReady { store, checked });
                    }
                    Err(cause) => context.tell(ConnectFailed(cause)),
                }
                tokio::time::sleep(RECONNECT.after(attempt)).await;
            }
        });
    }
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        ctx.every(CONNECTION_CHECK, CheckConnection);
        ctx.every(STORE_LOOK, LookAtStore);
        ctx.every(CLOCK_LOOK, ReadClock);
        self.watch_certificates();
        if let Some(client) = self.client().cloned() {
            // What was lost meanwhile is not to be taken for there until the first look.
            self.check_connection(ctx);
            return self.watch_client_task(client, ctx);
        }
        let (config, context) = (self.connect_config(), ctx.clone());
        ctx.spawn(async move {
            for attempt in 1.. {
                let mailbox = context.mailbox().clone();
                let on_event = move |event| {
                    if matches!(event, Event::LameDuckMode) {
                        let _ = mailbox.tell(LameDuck);
                    }
                    match event {
                        Event::Connected | Event::Disconnected => {}
                        other => log::info!("nats: {other}"),
                    }
                    // Only makes it prompt: the timer checks as well.
                    let _ = mailbox.tell(CheckConnection);
                };
                let failed = context.mailbox().clone();
                // The mailbox of an actor that is just rebuilt may be full; the next cause follows.
                let on_failure = move |cause| {
                    let _ = failed.tell(ConnectFailed(cause));
                };
                match connect::connect(&config, on_event, on_failure).await {
                    Ok(client) => return context.tell(ClientConnected(client)),
                    Err(cause) => context.tell(ConnectFailed(cause)),
                }
                tokio::time::sleep(RECONNECT.after(attempt)).await;
            }
        });
    }
}

impl Handler<ClientConnected> for Actor {
    fn handle(
        &mut self,
        ClientConnected(client): &ClientConnected,
        ctx: &Context<Self>,
    ) -> Reply<()> {
        self.connection.on_client(client.clone());
        self.watch_client_task(client.clone(), ctx);
        // What was served on another connection is not served on this one.
        self.shared.subscriptions.clear_active();
        // The client counts its first connect a little late.
        self.prepare(client.clone(), FIRST_CONNECT, ctx);
        ().into()
    }
}

impl Handler<LameDuck> for Actor {
    fn handle(&mut self, _: &LameDuck, ctx: &Context<Self>) -> Reply<()> {
        if let Some(client) = self.client().map(|connection| connection.client.clone()) {
            ctx.spawn(async move {
                // With nowhere else to go it is better to stay as long as the server does.
                if client.server_pool().await.is_ok_and(|servers| servers.len() < 2) {
                    return;
                }
                // The server accepts nobody any more, so that the next one is another.
                if let Err(error) = client.force_reconnect().await {
                    log::warn!("nats: the server ends, and it cannot be left: {error}");
                }
            });
        }
        ().into()
    }
}

impl Handler<CheckConnection> for Actor {
    fn handle(&mut self, _: &CheckConnection, ctx: &Context<Self>) -> Reply<()> {
        self.check_connection(ctx);
        ().into()
    }
}

impl Handler<LookAtStore> for Actor {
    fn handle(&mut self, _: &LookAtStore, ctx: &Context<Self>) -> Reply<()> {
        // A cluster that lost a server needs some seconds, and its connection is not ready then.
        let Some(client) = self.client().cloned().filter(Connection::is_connected) else {
            return ().into();
        };
        let (context, health) = (ctx.clone(), self.health().clone());
        let metrics = self.shared.metrics.clone();
        ctx.spawn(async move {
            let off = match with_timeout(client.jetstream().query_account()).await {
                Ok(Err(error)) if error.kind() == AccountErrorKind::TimedOut => {
                    return health.on_silent_look();
                }
                Ok(Err(error)) => switched_off(&error),
                Ok(Ok(account)) => {
                    metrics.set_account(&account);
                    None
                }
                Err(_) => return health.on_silent_look(),
            };
            context.tell(StoreSeen(off));
        });
        ().into()
    }
}

impl Handler<ReadClock> for Actor {
    fn handle(&mut self, _: &ReadClock, ctx: &Context<Self>) -> Reply<()> {
        if let Ok(ready) = self.ready() {
            let client = ready.store.connection().client.clone();
            let clock = self.shared.clock.clone();
            ctx.spawn(async move { clock.read(&client).await });
        }
        ().into()
    }
}

impl Handler<StoreSeen> for Actor {
    fn handle(&mut self, StoreSeen(off): &StoreSeen, ctx: &Context<Self>) -> Reply<()> {
        let was_on = self.health().check().is_ok();
        let is_back = self.health().on_look(off.clone());
        if was_on && let Err(error) = self.health().check() {
            log::warn!("nats is connected: {error}");
        }
        if is_back {
            log::info!("nats has its store again");
            let client = self.client().cloned();
            if let Some((client, checked)) = client.zip(self.connection.on_store_back()) {
                self.prepare(client, checked, ctx);
            }
        }
        ().into()
    }
}

impl Actor {
    /// Finds out whether the connection was lost, or made again.
    fn check_connection(&mut self, ctx: &Context<Self>) {
        let Some(client) = self.client().cloned() else { return };
        let was_ready = self.connection.error().is_none();
        let connect = self.connection.on_check(client.is_connected(), client.connects());
        if was_ready && self.connection.error().is_some() {
            self.lost_at = Some(Instant::now());
            log::warn!("nats is away: the connection is lost, trying again");
        }
        if let Some(connect) = connect {
            self.prepare(client, connect, ctx);
        }
    }
}

impl Handler<StoreReady> for Actor {
    fn handle(
        &mut self,
        StoreReady { store, checked }: &StoreReady,
        ctx: &Context<Self>,
    ) -> Reply<()> {
        let client = &store.connection().client;
        log::info!("nats is connected: {}", client.server_info().server_name);
        let ready = Ready { store: store.clone(), since: Instant::now(), checked: *checked };
        *self.shared.saved.lock() = Some(ready.clone());
        self.shared.metrics.connected();
        self.connection.on_ready(ready);
        self.shared.subscriptions.subscribe_all(client);
        self.shared.reached.tell();
        if let Some(lost_at) = self.lost_at.take() {
            self.tell_outage(lost_at.elapsed(), ctx);
        }
        ().into()
    }
}

impl Handler<ConnectFailed> for Actor {
    fn handle(&mut self, ConnectFailed(cause): &ConnectFailed, _: &Context<Self>) -> Reply<()> {
        // Said once, not at every attempt.
        if self.connection.error() != Some(cause.as_str()) {
            log::warn!("nats is away: {cause}");
        }
        self.connection.on_failure(cause.clone());
        ().into()
    }
}
