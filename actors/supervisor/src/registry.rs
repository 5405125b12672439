//! What all handles of one supervisor share: the tree and the actors in it.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use actix::{Arbiter, ArbiterHandle};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

use crate::capacity::Capacity;
use crate::failure_tracker::TestHooks;
use crate::fault::Fault;
use crate::runner::Command;
use crate::status::{ActorState, ActorStatus, Record};
use crate::tree::{Action, Node, Policy, Tree};
use crate::watchdog::{Event, Watchdog, WatchdogConfig};

pub(crate) struct Registry {
    inner: Mutex<Inner>,
    pub(crate) events: Sender<Event>,
    pub(crate) hooks: Arc<TestHooks>,
    fatal: watch::Sender<Option<String>>,
    watchdog: WatchdogConfig,
}

struct Inner {
    tree: Tree,
    children: BTreeMap<Node, Child>,
    /// What the watchdog reads, until there is one.
    events: Option<Receiver<Event>>,
}

/// What the supervisor holds of one actor.
pub(crate) struct Child {
    pub(crate) record: Arc<Record>,
    pub(crate) capacity: Arc<Capacity>,
    /// `None` once it is stopped.
    pub(crate) arbiter: Option<Arbiter>,
    pub(crate) commands: UnboundedSender<Command>,
    pub(crate) inject: Box<dyn Fn(Fault) + Send>,
    pub(crate) finish: Box<dyn Fn(oneshot::Sender<()>) + Send>,
}

impl Registry {
    pub(crate) fn new(policy: Policy, watchdog: WatchdogConfig) -> Arc<Self> {
        let (events, receiver) = mpsc::channel();
        let tree = Tree::new(policy);
        let inner = Inner { tree, children: BTreeMap::new(), events: Some(receiver) };
        Arc::new(Self {
            inner: Mutex::new(inner),
            events,
            hooks: Arc::default(),
            fatal: watch::Sender::new(None),
            watchdog,
        })
    }

    pub(crate) fn add_group(&self, parent: Node, policy: Policy) -> Node {
        self.inner().tree.add_group(parent, policy)
    }

    /// Adds the actor that `start` makes of its place in the tree.
    pub(crate) fn add(self: &Arc<Self>, parent: Node, start: impl FnOnce(Node) -> Child) {
        let node = self.inner().tree.add_actor(parent);
        let child = start(node);
        let mut inner = self.inner();
        inner.children.insert(node, child);
        if let Some(events) = inner.events.take() {
            let (registry, watchdog) = (Arc::downgrade(self), self.watchdog);
            let thread = std::thread::Builder::new().name("supervisor".to_owned());
            thread
                .spawn(move || Watchdog::run(watchdog, &registry, &events))
                .expect("the system has a thread for the supervisor when the program starts");
        }
    }

    pub(crate) fn status(&self, group: Node) -> Vec<ActorStatus> {
        let mut inner = self.inner();
        let mut nodes = inner.tree.actors(group);
        nodes.sort_unstable();
        let children = nodes.iter().filter_map(|node| inner.children.get(node));
        children.map(|child| child.record.status(&child.capacity)).collect()
    }

    /// Makes the first actor called `name` fail `times` in a row.
    pub(crate) fn inject(&self, name: &str, fault: Fault, times: u32) -> bool {
        let inner = self.inner();
        let child = inner.children.values().find(|child| child.record.is_called(name));
        let Some(child) = child else { return false };
        (0..times).for_each(|_| (child.inject)(fault));
        true
    }

    pub(crate) fn escalated(&self, node: Node) -> Vec<Action> {
        self.inner().tree.escalated(node, Instant::now())
    }

    /// Returns whether there was somebody to give the command to.
    pub(crate) fn command(&self, node: Node, command: Command) -> bool {
        let inner = self.inner();
        let child = inner.children.get(&node).filter(|child| child.arbiter.is_some());
        child.is_some_and(|child| child.commands.send(command).is_ok())
    }

    pub(crate) fn arbiters(&self) -> Vec<(Node, ArbiterHandle)> {
        let inner = self.inner();
        let alive = |(node, child): (&Node, &Child)| {
            Some((*node, child.arbiter.as_ref().filter(|arbiter| arbiter.alive())?.handle()))
        };
        inner.children.iter().filter_map(alive).collect()
    }

    /// Notes that the thread of an actor is stuck. What blocks it cannot be ended but with the
    /// process.
    pub(crate) fn wedged(&self, node: Node, heartbeat: Duration) {
        let Some(record) = self.inner().children.get(&node).map(|child| Arc::clone(&child.record))
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
                let drain = self.watchdog.drain;
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
        let mut inner = self.inner();
        let mut nodes = inner.tree.actors(group);
        nodes.retain(|node| inner.children.get(node).is_some_and(|child| child.arbiter.is_some()));
        nodes.sort_unstable();
        nodes
    }

    /// Closes the mailbox of an actor and has it finish what is queued; returns its name, and what
    /// ends when it has.
    pub(crate) fn finish(&self, node: Node) -> Option<(&'static str, oneshot::Receiver<()>)> {
        let (done, finished) = oneshot::channel();
        let inner = self.inner();
        let child = inner.children.get(&node)?;
        child.capacity.close();
        (child.finish)(done);
        Some((child.record.name, finished))
    }

    /// Ends the thread of an actor.
    pub(crate) fn end(&self, node: Node) {
        if let Some(child) = self.inner().children.get_mut(&node)
            && let Some(arbiter) = child.arbiter.take()
        {
            child.capacity.close();
            arbiter.stop();
            child.record.set(ActorState::Stopped);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
