//! The state: one connection, or the reason why there is none.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use actix::Message;
use async_nats::connection::State;
use async_nats::{Client, Event, jetstream};
use stream_protocol::subjects::Bucket;
use stream_supervisor::{Context, Handler, Reply, Worker, spawn_detached};
use tokio::sync::{oneshot, watch};

use crate::connect::{self, ConnectionStatus, GetStatus};
use crate::requests::{self, Route};
use crate::signal_connection::{GetConnectConfig, GetConnection};
use crate::signal_log::SignalLog;
use crate::store;
use crate::{BridgeError, Config};

/// How often the connection is looked at.
const CONNECTION_CHECK: Duration = Duration::from_secs(1);

/// What outlives a crash of the actor: the subjects to serve, and a connection that still stands.
/// So a restart is not noticed by anybody who asks or is asked over NATS.
#[derive(Clone, Default)]
pub(crate) struct SharedState {
    subscriptions: Arc<Mutex<Subscriptions>>,
    saved: Arc<Mutex<Option<SavedConnection>>>,
}

impl SharedState {
    /// Returns who takes the requests on `subject` now.
    pub(crate) fn route(&self, subject: &str) -> Option<Route> {
        lock(&self.subscriptions).routes.get(subject).cloned()
    }
}

#[derive(Default)]
pub(crate) struct Subscriptions {
    pub(crate) routes: BTreeMap<String, Route>,
    /// One entry for every subject served on this connection; dropping it ends the subscription.
    active: HashMap<String, oneshot::Sender<()>>,
}

/// A connection as the actor left it when it failed.
#[derive(Clone)]
struct SavedConnection {
    connection: Connection,
    connects: Arc<watch::Sender<u64>>,
    connected_since: Instant,
}

/// A working connection; cheap to clone into an answer that takes time.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) log: SignalLog,
    pub(crate) stores: Arc<HashMap<Bucket, jetstream::kv::Store>>,
    /// How many servers of a cluster hold each record.
    pub(crate) replicas: usize,
}

pub(crate) struct Actor {
    config: Config,
    unit: String,
    shared: SharedState,
    current: Result<Connection, String>,
    /// The connection before this one. Once it is up again it does for what is asked while the store is
    /// looked at: in a cluster that lost a server a part of it may be without a leader for a while.
    previous: Option<Connection>,
    /// Since when NATS is connected; means nothing while it is not.
    pub(crate) connected_since: Instant,
    /// The client, which makes a lost connection again by itself.
    client: Option<Client>,
    /// How often it has connected; counted by the client's own task.
    connects: Arc<watch::Sender<u64>>,
    /// The connect for which the store was looked at last, and whether that is still going on.
    prepared_for: u64,
    preparing: bool,
}

/// The first connection stands; the store behind it is not looked at yet.
#[derive(Message)]
#[rtype(result = "()")]
struct ClientConnected(Client);

/// Looks whether the connection still stands, or stands again.
#[derive(Clone, Message)]
#[rtype(result = "()")]
struct CheckConnection;

/// The connection stands and the store is as we need it.
#[derive(Message)]
#[rtype(result = "()")]
struct StoreReady(Arc<Connection>);

/// The server says that it is about to end.
#[derive(Message)]
#[rtype(result = "()")]
struct LameDuck;

/// An attempt failed.
#[derive(Message)]
#[rtype(result = "()")]
struct ConnectFailed(String);

impl Actor {
    /// Goes on with the connection that was kept, if it stands.
    pub(crate) fn new(config: Config, unit: String, shared: SharedState) -> Self {
        let saved = lock(&shared.saved).clone();
        let saved = saved.filter(|saved| saved.connection.log.is_connected());
        let fresh = Self {
            config,
            unit,
            shared,
            current: Err("not connected yet".to_owned()),
            previous: None,
            connected_since: Instant::now(),
            client: None,
            connects: Arc::new(watch::channel(0).0),
            prepared_for: 0,
            preparing: false,
        };
        let Some(SavedConnection { connection, connects, connected_since }) = saved else {
            return fresh;
        };
        let (client, prepared_for) = (Some(connection.log.client.clone()), *connects.borrow());
        let previous = Some(connection.clone());
        Self {
            current: Ok(connection),
            previous,
            connected_since,
            client,
            connects,
            prepared_for,
            ..fresh
        }
    }

    /// Answers with what `work` makes of the connection, or that there is none.
    pub(crate) fn with<T, F>(
        &self,
        work: impl FnOnce(Connection) -> F,
    ) -> Reply<Result<T, BridgeError>>
    where
        F: Future<Output = Result<T, BridgeError>> + 'static,
    {
        match self.connection() {
            Ok(connection) => Reply::later(work(connection)),
            Err(away) => Err(away).into(),
        }
    }

    /// The connection as it stands, or why there is none.
    fn connection(&self) -> Result<Connection, BridgeError> {
        match (&self.current, self.previous.as_ref().filter(|previous| previous.log.is_connected()))
        {
            (Ok(connection), _) | (_, Some(connection)) => Ok(connection.clone()),
            (Err(why), None) => Err(BridgeError::Disconnected(why.clone())),
        }
    }

    /// The same for questions to the store: [`BridgeError::TimedOut`] as well when the connection was
    /// lost meanwhile and made again, since what was asked before is not answered then.
    pub(crate) fn with_store<T, F>(
        &self,
        work: impl FnOnce(Connection) -> F,
    ) -> Reply<Result<T, BridgeError>>
    where
        T: 'static,
        F: Future<Output = Result<T, BridgeError>> + 'static,
    {
        self.with(|connection| {
            let log = connection.log.clone();
            let work = work(connection);
            async move { log.fail_on_reconnect(work).await }
        })
    }

    /// The connection with a store that was looked at, or why there is none.
    pub(crate) fn checked_connection(&self) -> Result<&Connection, &String> {
        self.current.as_ref()
    }

    /// Subscribes to `subject` unless that is done already.
    pub(crate) fn listen(&self, subject: &str) {
        let Ok(connection) = &self.current else { return };
        let mut subscriptions = self.subscriptions();
        if subscriptions.active.get(subject).is_some_and(|end| !end.is_closed()) {
            return;
        }
        let (end, ended) = oneshot::channel();
        subscriptions.active.insert(subject.to_owned(), end);
        let (client, shared) = (connection.log.client.clone(), self.shared.clone());
        let listen = requests::listen(client, subject.to_owned(), shared, ended);
        // Not work of this state: requests come in while it is rebuilt.
        spawn_detached("a subscription", listen);
    }

    pub(crate) fn unlisten(&self, subject: &str) {
        self.subscriptions().active.remove(subject);
    }

    pub(crate) fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        lock(&self.shared.subscriptions)
    }

    /// Has this state thrown away, and the connection with it, when the client's own task has ended:
    /// nothing else would make a connection then.
    fn watch_client_task(&self, client: Client, ctx: &Context<Self>) {
        let (shared, context) = (self.shared.clone(), ctx.clone());
        ctx.spawn(async move {
            connect::client_ended(&client).await;
            *lock(&shared.saved) = None;
            context.fail("the task of the nats connection has ended");
        });
    }

    /// Makes sure of the store, as often as it takes. A server that came back may have lost what it
    /// kept in memory.
    fn prepare(&mut self, client: Client, connects: u64, ctx: &Context<Self>) {
        self.preparing = true;
        self.prepared_for = connects;
        let (reconnects, replicas, context) =
            (self.connects.subscribe(), self.config.replicas, ctx.clone());
        ctx.spawn(async move {
            for attempt in 1.. {
                match store::prepare(client.clone(), replicas, reconnects.clone()).await {
                    Ok(connection) => return context.tell(StoreReady(Arc::new(connection))),
                    Err(why) => context.tell(ConnectFailed(why)),
                }
                tokio::time::sleep(connect::backoff(attempt)).await;
            }
        });
    }
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        ctx.every(CONNECTION_CHECK, CheckConnection);
        if let Some(client) = self.client.clone() {
            return self.watch_client_task(client, ctx);
        }
        let (config, unit, context) = (self.config.clone(), self.unit.clone(), ctx.clone());
        let connects = Arc::clone(&self.connects);
        ctx.spawn(async move {
            for attempt in 1.. {
                let (mailbox, connects) = (context.mailbox().clone(), Arc::clone(&connects));
                let on_event = move |event| {
                    if matches!(event, Event::LameDuckMode) {
                        let _ = mailbox.tell(LameDuck);
                    }
                    match event {
                        Event::Connected => connects.send_modify(|connects| *connects += 1),
                        Event::Disconnected => {}
                        other => log::info!("nats: {other}"),
                    }
                    // Only makes it prompt: the timer looks as well.
                    let _ = mailbox.tell(CheckConnection);
                };
                match connect::connect(&config, &unit, on_event).await {
                    Ok(client) => return context.tell(ClientConnected(client)),
                    Err(why) => context.tell(ConnectFailed(why)),
                }
                tokio::time::sleep(connect::backoff(attempt)).await;
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
        self.client = Some(client.clone());
        self.watch_client_task(client.clone(), ctx);
        // What was served on another connection is not served on this one.
        self.subscriptions().active.clear();
        // The client counts its first connect only now and then a little later.
        self.prepare(client.clone(), 1, ctx);
        ().into()
    }
}

impl Handler<LameDuck> for Actor {
    fn handle(&mut self, _: &LameDuck, ctx: &Context<Self>) -> Reply<()> {
        // With nowhere else to go it is better to stay as long as the server does.
        if let Some(client) = self.client.clone().filter(|_| self.config.servers.len() > 1) {
            ctx.spawn(async move {
                // It accepts nobody any more, so that this is another one.
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
        let Some(client) = self.client.clone() else { return ().into() };
        let stands = client.connection_state() == State::Connected;
        let connects = *self.connects.borrow();
        let again = connects > self.prepared_for;
        if (!stands || again) && self.current.is_ok() {
            log::warn!("nats is away: the connection is lost, trying again");
            self.current = Err("the connection is lost".to_owned());
        }
        if stands && again && !self.preparing {
            self.connected_since = Instant::now();
            self.prepare(client, connects, ctx);
        }
        ().into()
    }
}

impl Handler<StoreReady> for Actor {
    fn handle(&mut self, StoreReady(connection): &StoreReady, _: &Context<Self>) -> Reply<()> {
        log::info!("nats is connected: {}", connection.log.client.server_info().server_name);
        self.preparing = false;
        self.current = Ok(connection.as_ref().clone());
        self.previous = Some(connection.as_ref().clone());
        self.connected_since = Instant::now();
        *lock(&self.shared.saved) = Some(SavedConnection {
            connection: connection.as_ref().clone(),
            connects: Arc::clone(&self.connects),
            connected_since: self.connected_since,
        });
        let subjects: Vec<_> = self.subscriptions().routes.keys().cloned().collect();
        subjects.iter().for_each(|subject| self.listen(subject));
        ().into()
    }
}

impl Handler<ConnectFailed> for Actor {
    fn handle(&mut self, ConnectFailed(why): &ConnectFailed, _: &Context<Self>) -> Reply<()> {
        log::warn!("nats is away: {why}");
        self.current = Err(why.clone());
        ().into()
    }
}

impl Handler<GetStatus> for Actor {
    fn handle(&mut self, _: &GetStatus, _: &Context<Self>) -> Reply<ConnectionStatus> {
        let error = self.current.as_ref().err().cloned();
        let server =
            self.current.as_ref().ok().map(|nats| nats.log.client.server_info().server_name);
        ConnectionStatus { connected: error.is_none(), server, error }.into()
    }
}

impl Handler<GetConnection> for Actor {
    fn handle(
        &mut self,
        _: &GetConnection,
        _: &Context<Self>,
    ) -> Reply<Result<SignalLog, BridgeError>> {
        self.connection().map(|connection| connection.log).into()
    }
}

impl Handler<GetConnectConfig> for Actor {
    fn handle(
        &mut self,
        _: &GetConnectConfig,
        _: &Context<Self>,
    ) -> Reply<Result<(Config, String), BridgeError>> {
        self.connection().map(|_| (self.config.clone(), self.unit.clone())).into()
    }
}

pub(crate) fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
