//! What all handles of one supervisor share: the tree and the actors in it.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use actix::{Arbiter, ArbiterHandle};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

use crate::fault::Fault;
use crate::gauge::Gauge;
use crate::guard::Order;
use crate::ledger::Drill;
use crate::status::{ActorState, ActorStatus, Record};
use crate::tree::{Action, Node, Policy, Tree};
use crate::warden::{Event, Warden, Watch};

pub(crate) struct Core {
    house: Mutex<House>,
    pub(crate) events: Sender<Event>,
    pub(crate) drill: Arc<Drill>,
    fatal: watch::Sender<Option<String>>,
    watch: Watch,
}

struct House {
    tree: Tree,
    children: BTreeMap<Node, Child>,
    /// What the warden reads, until there is one.
    events: Option<Receiver<Event>>,
}

/// What the supervisor holds of one actor.
pub(crate) struct Child {
    pub(crate) record: Arc<Record>,
    pub(crate) gauge: Arc<Gauge>,
    /// `None` once it is stopped.
    pub(crate) arbiter: Option<Arbiter>,
    pub(crate) orders: UnboundedSender<Order>,
    pub(crate) inject: Box<dyn Fn(Fault) + Send>,
    pub(crate) finish: Box<dyn Fn(oneshot::Sender<()>) + Send>,
}

impl Core {
    pub(crate) fn new(policy: Policy, watch: Watch) -> Arc<Self> {
        let (events, receiver) = mpsc::channel();
        let tree = Tree::new(policy);
        let house = House { tree, children: BTreeMap::new(), events: Some(receiver) };
        Arc::new(Self {
            house: Mutex::new(house),
            events,
            drill: Arc::default(),
            fatal: watch::Sender::new(None),
            watch,
        })
    }

    pub(crate) fn add_group(&self, parent: Node, policy: Policy) -> Node {
        self.house().tree.add_group(parent, policy)
    }

    /// Adds the actor that `start` makes of its place in the tree.
    pub(crate) fn add(self: &Arc<Self>, parent: Node, start: impl FnOnce(Node) -> Child) {
        let node = self.house().tree.add_actor(parent);
        let child = start(node);
        let mut house = self.house();
        house.children.insert(node, child);
        if let Some(events) = house.events.take() {
            let (core, watch) = (Arc::downgrade(self), self.watch);
            let warden = std::thread::Builder::new().name("supervisor".to_owned());
            warden
                .spawn(move || Warden::watch(watch, &core, &events))
                .expect("the system has a thread for the supervisor when the program starts");
        }
    }

    pub(crate) fn status(&self, group: Node) -> Vec<ActorStatus> {
        let mut house = self.house();
        let mut nodes = house.tree.actors(group);
        nodes.sort_unstable();
        let children = nodes.iter().filter_map(|node| house.children.get(node));
        children.map(|child| child.record.status(&child.gauge)).collect()
    }

    /// Makes the first actor called `name` fail `times` in a row.
    pub(crate) fn inject(&self, name: &str, fault: Fault, times: u32) -> bool {
        let house = self.house();
        let child = house.children.values().find(|child| child.record.is_called(name));
        let Some(child) = child else { return false };
        (0..times).for_each(|_| (child.inject)(fault));
        true
    }

    pub(crate) fn escalated(&self, node: Node) -> Vec<Action> {
        self.house().tree.escalated(node, Instant::now())
    }

    /// Returns whether there was somebody to give the order to.
    pub(crate) fn order(&self, node: Node, order: Order) -> bool {
        let house = self.house();
        let child = house.children.get(&node).filter(|child| child.arbiter.is_some());
        child.is_some_and(|child| child.orders.send(order).is_ok())
    }

    pub(crate) fn arbiters(&self) -> Vec<(Node, ArbiterHandle)> {
        let house = self.house();
        let alive = |(node, child): (&Node, &Child)| {
            Some((*node, child.arbiter.as_ref().filter(|arbiter| arbiter.alive())?.handle()))
        };
        house.children.iter().filter_map(alive).collect()
    }

    /// Notes that the thread of an actor is stuck. What blocks it cannot be ended but with the
    /// process.
    pub(crate) fn wedged(&self, node: Node, heartbeat: Duration) {
        let Some(record) = self.house().children.get(&node).map(|child| Arc::clone(&child.record))
        else {
            return;
        };
        let cause = format!("the thread of actor {} is stuck for {heartbeat:?}", record.name);
        record.wedged(cause.clone());
        self.give_up(&cause);
    }

    /// Asks the program, once, to stop in order.
    pub(crate) fn give_up(&self, cause: &str) {
        self.fatal.send_if_modified(|fatal| {
            let first = fatal.is_none();
            if first {
                let drain = self.watch.drain;
                log::error!("giving up, the program has {drain:?} to stop: {cause}");
                *fatal = Some(cause.to_owned());
            }
            first
        });
    }

    pub(crate) fn has_given_up(&self) -> bool {
        self.fatal.borrow().is_some()
    }

    pub(crate) fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.fatal.subscribe()
    }

    /// Returns the actors of `group` that are not stopped, in the order of their start.
    pub(crate) fn started(&self, group: Node) -> Vec<Node> {
        let mut house = self.house();
        let mut nodes = house.tree.actors(group);
        nodes.retain(|node| house.children.get(node).is_some_and(|child| child.arbiter.is_some()));
        nodes.sort_unstable();
        nodes
    }

    /// Closes the mailbox of an actor and has it finish what is queued; returns its name, and what
    /// ends when it has.
    pub(crate) fn finish(&self, node: Node) -> Option<(&'static str, oneshot::Receiver<()>)> {
        let (done, finished) = oneshot::channel();
        let house = self.house();
        let child = house.children.get(&node)?;
        child.gauge.close();
        (child.finish)(done);
        Some((child.record.name, finished))
    }

    /// Ends the thread of an actor.
    pub(crate) fn end(&self, node: Node) {
        if let Some(child) = self.house().children.get_mut(&node)
            && let Some(arbiter) = child.arbiter.take()
        {
            child.gauge.close();
            arbiter.stop();
            child.record.set(ActorState::Stopped);
        }
    }

    fn house(&self) -> MutexGuard<'_, House> {
        self.house.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
