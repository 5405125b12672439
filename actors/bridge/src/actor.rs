//! The state: one connection, or the reason why there is none.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex};

use actix::Message;
use async_nats::{Client, Event, jetstream};
use stream_protocol::subjects::Bucket;
use stream_supervisor::{Handler, Me, Recipient, Reply, Worker};
use tokio::sync::{oneshot, watch};

use crate::inbound::{self, Inbound};
use crate::link::{self, AskLink, Link};
use crate::store;
use crate::{BridgeError, Config};

/// The subjects to serve; outlives a crash of the actor.
pub(crate) type Served = Arc<Mutex<BTreeMap<String, Recipient<Inbound>>>>;

/// A working connection; cheap to clone into an answer that takes time.
#[derive(Clone)]
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) stores: Arc<HashMap<Bucket, jetstream::kv::Store>>,
    pub(crate) signals: Arc<jetstream::stream::Stream<()>>,
    pub(crate) jetstream: jetstream::Context,
    /// Changes with every loss and return: what was published meanwhile was not heard.
    pub(crate) gaps: watch::Receiver<u64>,
}

pub(crate) struct Actor {
    config: Config,
    unit: String,
    served: Served,
    /// One entry for every subject served on this connection; dropping it ends the subscription.
    listening: HashMap<String, oneshot::Sender<()>>,
    link: Result<Connected, String>,
    /// The client of a lost connection, until it has made it again.
    lost: Option<Client>,
    gaps: watch::Sender<u64>,
}

/// The connection stands and the store is as we need it.
#[derive(Message)]
#[rtype(result = "()")]
struct Up(Arc<Connected>);

/// The connection is lost; the client is trying to make it again.
#[derive(Message)]
#[rtype(result = "()")]
struct Down;

/// The client says that it is connected; it says so for the first time, too.
#[derive(Message)]
#[rtype(result = "()")]
struct Reconnected;

/// A connection stands; the store behind it is not looked at yet.
#[derive(Message)]
#[rtype(result = "()")]
struct Back(Client);

/// An attempt failed.
#[derive(Message)]
#[rtype(result = "()")]
struct StillAway(String);

impl Actor {
    pub(crate) fn new(config: Config, unit: String, served: Served) -> Self {
        let link = Err("not connected yet".to_owned());
        let (gaps, _) = watch::channel(0);
        Self { config, unit, served, listening: HashMap::new(), link, lost: None, gaps }
    }

    /// Answers with what `work` makes of the connection, or that there is none.
    pub(crate) fn with<T, F>(&self, work: impl FnOnce(Connected) -> F) -> Reply<Result<T, BridgeError>>
    where
        F: Future<Output = Result<T, BridgeError>> + 'static,
    {
        match &self.link {
            Ok(connected) => Reply::later(work(connected.clone())),
            Err(why) => Err(BridgeError::Away(why.clone())).into(),
        }
    }

    /// Subscribes to `subject` unless that is done already.
    pub(crate) fn listen(&mut self, subject: &str, to: Recipient<Inbound>, me: &Me<Self>) {
        let Ok(connected) = &self.link else { return };
        if self.listening.contains_key(subject) {
            return;
        }
        let (end, ended) = oneshot::channel();
        self.listening.insert(subject.to_owned(), end);
        me.spawn(inbound::listen(connected.client.clone(), subject.to_owned(), to, ended));
    }

    pub(crate) fn served(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Recipient<Inbound>>> {
        self.served.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn unlisten(&mut self, subject: &str) {
        self.listening.remove(subject);
    }

    /// Makes sure of the store behind `client`, as often as it takes.
    fn prepare(&self, client: Client, me: &Me<Self>) {
        let (gaps, replicas) = (self.gaps.subscribe(), self.config.replicas);
        let told = me.clone();
        me.spawn(async move {
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
    fn started(&mut self, me: &Me<Self>) {
        let (config, unit, told) = (self.config.clone(), self.unit.clone(), me.clone());
        me.spawn(async move {
            for attempt in 1.. {
                let mailbox = told.mailbox().clone();
                let on_event = move |event| match event {
                    Event::Disconnected => drop(mailbox.tell(Down)),
                    Event::Connected => drop(mailbox.tell(Reconnected)),
                    other => log::info!("nats: {other}"),
                };
                match link::connect(&config, &unit, on_event).await {
                    Ok(client) => return told.tell(Back(client)),
                    Err(why) => told.tell(StillAway(why)),
                }
                tokio::time::sleep(link::pause(attempt)).await;
            }
        });
    }
}

impl Handler<Reconnected> for Actor {
    fn handle(&mut self, _: &Reconnected, me: &Me<Self>) -> Reply<()> {
        // The first time `Back` brings the client.
        if let Some(client) = self.lost.take() {
            me.tell(Back(client));
        }
        ().into()
    }
}

impl Handler<Back> for Actor {
    fn handle(&mut self, Back(client): &Back, me: &Me<Self>) -> Reply<()> {
        self.prepare(client.clone(), me);
        ().into()
    }
}

impl Handler<Up> for Actor {
    fn handle(&mut self, Up(connected): &Up, me: &Me<Self>) -> Reply<()> {
        log::info!("nats is connected");
        self.link = Ok(connected.as_ref().clone());
        self.gaps.send_modify(|gaps| *gaps += 1);
        let served: Vec<_> = self.served().clone().into_iter().collect();
        for (subject, to) in served {
            self.listen(&subject, to, me);
        }
        ().into()
    }
}

impl Handler<Down> for Actor {
    fn handle(&mut self, _: &Down, _: &Me<Self>) -> Reply<()> {
        if let Ok(connected) = &self.link {
            log::warn!("nats is away: the connection is lost, trying again");
            self.lost = Some(connected.client.clone());
            self.link = Err("the connection is lost".to_owned());
        }
        ().into()
    }
}

impl Handler<StillAway> for Actor {
    fn handle(&mut self, StillAway(why): &StillAway, _: &Me<Self>) -> Reply<()> {
        log::warn!("nats is away: {why}");
        self.link = Err(why.clone());
        ().into()
    }
}

impl Handler<AskLink> for Actor {
    fn handle(&mut self, _: &AskLink, _: &Me<Self>) -> Reply<Link> {
        let error = self.link.as_ref().err().cloned();
        Link { connected: error.is_none(), error }.into()
    }
}
