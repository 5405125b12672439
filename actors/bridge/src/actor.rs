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

use crate::inbound::{self, Served};
use crate::link::{self, AskLink, Link};
use crate::near::{AskAddress, Borrow};
use crate::signals::Log;
use crate::store;
use crate::{BridgeError, Config};

/// How often the connection is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What outlives a crash of the actor: the subjects to serve, and a connection that still stands.
/// So a restart is not noticed by anybody who asks or is asked over NATS.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    subjects: Arc<Mutex<Subjects>>,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Kept {
    /// Returns who takes the requests on `subject` now.
    pub(crate) fn served(&self, subject: &str) -> Option<Served> {
        lock(&self.subjects).served.get(subject).cloned()
    }
}

#[derive(Default)]
pub(crate) struct Subjects {
    pub(crate) served: BTreeMap<String, Served>,
    /// One entry for every subject served on this connection; dropping it ends the subscription.
    listening: HashMap<String, oneshot::Sender<()>>,
}

/// A connection as the actor left it when it failed.
#[derive(Clone)]
struct Connection {
    connected: Connected,
    connects: Arc<watch::Sender<u64>>,
    reached: Instant,
}

/// A working connection; cheap to clone into an answer that takes time.
#[derive(Clone)]
pub(crate) struct Connected {
    pub(crate) log: Log,
    pub(crate) stores: Arc<HashMap<Bucket, jetstream::kv::Store>>,
    /// How many servers of a cluster hold each record.
    pub(crate) replicas: usize,
}

pub(crate) struct Actor {
    config: Config,
    unit: String,
    kept: Kept,
    link: Result<Connected, String>,
    /// The link as it stood last. Once it stands again it does for what is asked while the store is
    /// looked at: in a cluster that lost a server a part of it may be without a leader for a while.
    last: Option<Connected>,
    /// When the link came to stand; means nothing while there is none.
    pub(crate) reached: Instant,
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
struct Connect(Client);

/// Looks whether the connection still stands, or stands again.
#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Look;

/// The connection stands and the store is as we need it.
#[derive(Message)]
#[rtype(result = "()")]
struct Up(Arc<Connected>);

/// The server says that it is about to end.
#[derive(Message)]
#[rtype(result = "()")]
struct Leave;

/// An attempt failed.
#[derive(Message)]
#[rtype(result = "()")]
struct StillAway(String);

impl Actor {
    /// Goes on with the connection that was kept, if it stands.
    pub(crate) fn new(config: Config, unit: String, kept: Kept) -> Self {
        let connection = lock(&kept.connection).clone();
        let connection = connection.filter(|connection| connection.connected.log.stands());
        let fresh = Self {
            config,
            unit,
            kept,
            link: Err("not connected yet".to_owned()),
            last: None,
            reached: Instant::now(),
            client: None,
            connects: Arc::new(watch::channel(0).0),
            prepared_for: 0,
            preparing: false,
        };
        let Some(Connection { connected, connects, reached }) = connection else { return fresh };
        let (client, prepared_for) = (Some(connected.log.client.clone()), *connects.borrow());
        let last = Some(connected.clone());
        Self { link: Ok(connected), last, reached, client, connects, prepared_for, ..fresh }
    }

    /// Answers with what `work` makes of the connection, or that there is none.
    pub(crate) fn with<T, F>(
        &self,
        work: impl FnOnce(Connected) -> F,
    ) -> Reply<Result<T, BridgeError>>
    where
        F: Future<Output = Result<T, BridgeError>> + 'static,
    {
        match self.lend() {
            Ok(connected) => Reply::later(work(connected)),
            Err(away) => Err(away).into(),
        }
    }

    /// The connection as it stands, or why there is none.
    fn lend(&self) -> Result<Connected, BridgeError> {
        match (&self.link, self.last.as_ref().filter(|last| last.log.stands())) {
            (Ok(connected), _) | (_, Some(connected)) => Ok(connected.clone()),
            (Err(why), None) => Err(BridgeError::Away(why.clone())),
        }
    }

    /// The same for questions to the store: [`BridgeError::TimedOut`] as well when the connection was
    /// lost meanwhile and made again, since what was asked before is not answered then.
    pub(crate) fn with_store<T, F>(
        &self,
        work: impl FnOnce(Connected) -> F,
    ) -> Reply<Result<T, BridgeError>>
    where
        T: 'static,
        F: Future<Output = Result<T, BridgeError>> + 'static,
    {
        self.with(|connected| {
            let log = connected.log.clone();
            let work = work(connected);
            async move { log.unless_lost(work).await }
        })
    }

    /// The connection with a store that was looked at, or why there is none.
    pub(crate) fn link(&self) -> Result<&Connected, &String> {
        self.link.as_ref()
    }

    /// Subscribes to `subject` unless that is done already.
    pub(crate) fn listen(&self, subject: &str) {
        let Ok(connected) = &self.link else { return };
        let mut subjects = self.subjects();
        if subjects.listening.get(subject).is_some_and(|end| !end.is_closed()) {
            return;
        }
        let (end, ended) = oneshot::channel();
        subjects.listening.insert(subject.to_owned(), end);
        let (client, kept) = (connected.log.client.clone(), self.kept.clone());
        let listen = inbound::listen(client, subject.to_owned(), kept, ended);
        // Not work of this state: requests come in while it is rebuilt.
        spawn_detached("a subscription", listen);
    }

    pub(crate) fn unlisten(&self, subject: &str) {
        self.subjects().listening.remove(subject);
    }

    pub(crate) fn subjects(&self) -> MutexGuard<'_, Subjects> {
        lock(&self.kept.subjects)
    }

    /// Has this state thrown away, and the connection with it, when the client's own task has ended:
    /// nothing else would make a connection then.
    fn outlive(&self, client: Client, ctx: &Context<Self>) {
        let (kept, told) = (self.kept.clone(), ctx.clone());
        ctx.spawn(async move {
            link::ended(&client).await;
            *lock(&kept.connection) = None;
            told.fail("the task of the nats connection has ended");
        });
    }

    /// Makes sure of the store, as often as it takes. A server that came back may have lost what it
    /// kept in memory.
    fn prepare(&mut self, client: Client, connects: u64, ctx: &Context<Self>) {
        self.preparing = true;
        self.prepared_for = connects;
        let (gaps, replicas, told) = (self.connects.subscribe(), self.config.replicas, ctx.clone());
        ctx.spawn(async move {
            for attempt in 1.. {
                match store::prepare(client.clone(), replicas, gaps.clone()).await {
                    Ok(connected) => return told.tell(Up(Arc::new(connected))),
                    Err(why) => told.tell(StillAway(why)),
                }
                tokio::time::sleep(link::pause(attempt)).await;
            }
        });
    }
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        ctx.every(LOOK, Look);
        if let Some(client) = self.client.clone() {
            return self.outlive(client, ctx);
        }
        let (config, unit, told) = (self.config.clone(), self.unit.clone(), ctx.clone());
        let connects = Arc::clone(&self.connects);
        ctx.spawn(async move {
            for attempt in 1.. {
                let (mailbox, connects) = (told.mailbox().clone(), Arc::clone(&connects));
                let on_event = move |event| {
                    if matches!(event, Event::LameDuckMode) {
                        let _ = mailbox.tell(Leave);
                    }
                    match event {
                        Event::Connected => connects.send_modify(|connects| *connects += 1),
                        Event::Disconnected => {}
                        other => log::info!("nats: {other}"),
                    }
                    // Only makes it prompt: the timer looks as well.
                    let _ = mailbox.tell(Look);
                };
                match link::connect(&config, &unit, on_event).await {
                    Ok(client) => return told.tell(Connect(client)),
                    Err(why) => told.tell(StillAway(why)),
                }
                tokio::time::sleep(link::pause(attempt)).await;
            }
        });
    }
}

impl Handler<Connect> for Actor {
    fn handle(&mut self, Connect(client): &Connect, ctx: &Context<Self>) -> Reply<()> {
        self.client = Some(client.clone());
        self.outlive(client.clone(), ctx);
        // What was served on another connection is not served on this one.
        self.subjects().listening.clear();
        // The client counts its first connect only now and then a little later.
        self.prepare(client.clone(), 1, ctx);
        ().into()
    }
}

impl Handler<Leave> for Actor {
    fn handle(&mut self, _: &Leave, ctx: &Context<Self>) -> Reply<()> {
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

impl Handler<Look> for Actor {
    fn handle(&mut self, _: &Look, ctx: &Context<Self>) -> Reply<()> {
        let Some(client) = self.client.clone() else { return ().into() };
        let stands = client.connection_state() == State::Connected;
        let connects = *self.connects.borrow();
        let again = connects > self.prepared_for;
        if (!stands || again) && self.link.is_ok() {
            log::warn!("nats is away: the connection is lost, trying again");
            self.link = Err("the connection is lost".to_owned());
        }
        if stands && again && !self.preparing {
            self.reached = Instant::now();
            self.prepare(client, connects, ctx);
        }
        ().into()
    }
}

impl Handler<Up> for Actor {
    fn handle(&mut self, Up(connected): &Up, _: &Context<Self>) -> Reply<()> {
        log::info!("nats is connected: {}", connected.log.client.server_info().server_name);
        self.preparing = false;
        self.link = Ok(connected.as_ref().clone());
        self.last = Some(connected.as_ref().clone());
        self.reached = Instant::now();
        *lock(&self.kept.connection) = Some(Connection {
            connected: connected.as_ref().clone(),
            connects: Arc::clone(&self.connects),
            reached: self.reached,
        });
        let served: Vec<_> = self.subjects().served.keys().cloned().collect();
        served.iter().for_each(|subject| self.listen(subject));
        ().into()
    }
}

impl Handler<StillAway> for Actor {
    fn handle(&mut self, StillAway(why): &StillAway, _: &Context<Self>) -> Reply<()> {
        log::warn!("nats is away: {why}");
        self.link = Err(why.clone());
        ().into()
    }
}

impl Handler<AskLink> for Actor {
    fn handle(&mut self, _: &AskLink, _: &Context<Self>) -> Reply<Link> {
        let error = self.link.as_ref().err().cloned();
        let server = self.link.as_ref().ok().map(|nats| nats.log.client.server_info().server_name);
        Link { connected: error.is_none(), server, error }.into()
    }
}

impl Handler<Borrow> for Actor {
    fn handle(&mut self, _: &Borrow, _: &Context<Self>) -> Reply<Result<Log, BridgeError>> {
        self.lend().map(|connected| connected.log).into()
    }
}

impl Handler<AskAddress> for Actor {
    fn handle(
        &mut self,
        _: &AskAddress,
        _: &Context<Self>,
    ) -> Reply<Result<(Config, String), BridgeError>> {
        self.lend().map(|_| (self.config.clone(), self.unit.clone())).into()
    }
}

pub(crate) fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
