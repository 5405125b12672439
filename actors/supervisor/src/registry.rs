//! What all handles of one supervisor share: the tree and the actors in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use actix::ArbiterHandle;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

use crate::actor_thread::ActorThread;
use crate::capacity::Capacity;
use crate::command::{Command, Event};
use crate::fault::Fault;
use crate::status::{ActorState, ActorStatus, Record};
use crate::test_hooks::TestHooks;
use crate::tree::{Action, Node, Policy, Tree};

pub(crate) struct Registry {
    inner: Mutex<Inner>,
    pub(crate) events: Sender<Event>,
    pub(crate) hooks: Arc<TestHooks>,
    fatal: watch::Sender<Option<String>>,
    /// How long the program has to stop after the supervisor gave up.
    drain: Duration,
    /// When the watchdog began its last turn; `None` until it is started.
    last_turn: Mutex<Option<Instant>>,
}

struct Inner {
    tree: Tree,
    children: BTreeMap<Node, Child>,
    /// What the watchdog is to read, until it is started.
    events: Option<Receiver<Event>>,
}

/// What the supervisor holds of one actor.
pub(crate) struct Child {
    pub(crate) record: Arc<Record>,
    pub(crate) capacity: Arc<Capacity>,
    /// `None` once it is stopped.
    pub(crate) thread: Option<ActorThread>,
    pub(crate) commands: UnboundedSender<Command>,
    pub(crate) inject: Box<dyn Fn(Fault) + Send>,
    pub(crate) shut_down: Box<dyn Fn(oneshot::Sender<()>) + Send>,
}

impl Registry {
    pub(crate) fn new(policy: Policy, drain: Duration) -> Arc<Self> {
        let (events, receiver) = mpsc::channel();
        let tree = Tree::new(policy);
        let inner = Inner { tree, children: BTreeMap::new(), events: Some(receiver) };
        let (inner, fatal) = (Mutex::new(inner), watch::Sender::new(None));
        let (hooks, last_turn) = (Arc::default(), Mutex::default());
        Arc::new(Self { inner, events, hooks, fatal, drain, last_turn })
    }

    /// Notes that the watchdog is at work.
    pub(crate) fn note_turn(&self) {
        *self.last_turn.lock() = Some(Instant::now());
    }

    /// How long the watchdog has not been at work; nothing while there is none.
    pub(crate) fn since_last_turn(&self) -> Duration {
        self.last_turn.lock().map_or(Duration::ZERO, |turn| turn.elapsed())
    }

    /// Adds the actor that `start` makes of its place in the tree.
    pub(crate) fn add(&self, start: impl FnOnce(Node) -> Child) {
        let node = self.inner.lock().tree.add_actor();
        let child = start(node);
        self.inner.lock().children.insert(node, child);
    }

    /// Returns what actors tell the supervisor's thread; nothing when somebody reads it already.
    pub(crate) fn take_events(&self) -> Option<Receiver<Event>> {
        self.inner.lock().events.take()
    }

    /// Returns the status of all actors in the order of their start.
    pub(crate) fn status(&self) -> Vec<ActorStatus> {
        let inner = self.inner.lock();
        inner.children.values().map(|child| child.record.status(&child.capacity)).collect()
    }

    /// Makes the actor called `name` fail `times` in a row; returns whether there is one.
    pub(crate) fn inject(&self, name: &str, fault: Fault, times: u32) -> bool {
        let inner = self.inner.lock();
        let child = inner.children.values().find(|child| child.record.name == name);
        let Some(child) = child else { return false };
        (0..times).for_each(|_| (child.inject)(fault));
        true
    }

    /// Returns what to do about an actor that has failed too often.
    pub(crate) fn escalated(&self, node: Node) -> Vec<Action> {
        self.inner.lock().tree.escalated(node, tokio::time::Instant::now())
    }

    /// Sends an actor a command; returns whether it can take one.
    pub(crate) fn command(&self, node: Node, command: Command) -> bool {
        let inner = self.inner.lock();
        let child = inner.children.get(&node).filter(|child| child.thread.is_some());
        child.is_some_and(|child| child.commands.send(command).is_ok())
    }

    /// Returns the threads of the actors that run.
    pub(crate) fn arbiters(&self) -> Vec<(Node, ArbiterHandle)> {
        let inner = self.inner.lock();
        let alive =
            |(node, child): (&Node, &Child)| Some((*node, child.thread.as_ref()?.arbiter()?));
        inner.children.iter().filter_map(alive).collect()
    }

    /// Gives up because the thread of an actor is stuck: nothing but the end of the process frees
    /// it.
    pub(crate) fn wedged(&self, node: Node, heartbeat: Duration) {
        let record = self.inner.lock().children.get(&node).map(|child| Arc::clone(&child.record));
        let Some(record) = record else { return };
        let cause = format!("the thread of actor {} is stuck for {heartbeat:?}", record.name);
        record.wedged(cause.clone());
        self.give_up(&cause);
    }

    /// Asks the program, once, to stop in order.
    pub(crate) fn give_up(&self, cause: &str) {
        self.fatal.send_if_modified(|fatal| {
            let first = fatal.is_none();
            if first {
                let drain = self.drain;
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

    /// Returns the actors that are not stopped, in the order of their start.
    pub(crate) fn running(&self) -> Vec<Node> {
        let inner = self.inner.lock();
        let running = inner.children.iter().filter(|(_, child)| child.thread.is_some());
        running.map(|(node, _)| *node).collect()
    }

    /// Closes the mailbox of an actor and has it finish what is queued; returns its name, and what
    /// ends when it has.
    pub(crate) fn shut_down(&self, node: Node) -> Option<(&'static str, oneshot::Receiver<()>)> {
        let (done, finished) = oneshot::channel();
        let inner = self.inner.lock();
        let child = inner.children.get(&node)?;
        child.capacity.close();
        (child.shut_down)(done);
        Some((child.record.name, finished))
    }

    /// Ends the thread of an actor.
    pub(crate) fn stop(&self, node: Node) {
        if let Some(child) = self.inner.lock().children.get_mut(&node)
            && let Some(thread) = child.thread.take()
        {
            child.capacity.close();
            thread.stop();
            child.record.set(ActorState::Stopped);
        }
    }
}
