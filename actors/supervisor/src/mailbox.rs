//! The addresses that askers hold, and messages on their way.

use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Message};
use tokio::sync::{mpsc, oneshot};

use crate::capacity::{Capacity, Permit};
use crate::cell::{ActorCell, Shutdown, WorkerFailed};
use crate::failure::AskError;
use crate::fault::Fault;
use crate::reply::{ReplySender, reply_channel};
use crate::worker::{Handler, Worker};

/// The address of an actor; cheap to clone. It stays good across restarts.
pub struct Mailbox<W: Worker> {
    addr: Addr<ActorCell<W>>,
    capacity: Arc<Capacity>,
    /// How long an asker waits, queueing included.
    ask_timeout: Duration,
}

impl<W: Worker> Clone for Mailbox<W> {
    fn clone(&self) -> Self {
        let Self { addr, capacity, ask_timeout } = self;
        Self { addr: addr.clone(), capacity: Arc::clone(capacity), ask_timeout: *ask_timeout }
    }
}

impl<W: Worker> Mailbox<W> {
    pub(crate) fn new(
        addr: Addr<ActorCell<W>>,
        capacity: Arc<Capacity>,
        ask_timeout: Duration,
    ) -> Self {
        Self { addr, capacity, ask_timeout }
    }

    /// Queues `message` and returns its answer.
    ///
    /// Refuses at once when the mailbox is full, and when no answer came within
    /// [`Limits::ask_timeout`](crate::Limits::ask_timeout).
    pub async fn ask<M>(&self, message: M) -> Result<M::Result, AskError>
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        let permit = Permit::acquire(&self.capacity)?;
        let (sender, answer) = reply_channel();
        self.send(Envelope { message, reply: ReplyContext { sender, permit, tried: false } })?;
        answer.wait(self.ask_timeout).await.unwrap_or_else(|| {
            // The message was dropped unanswered, by the end of the actor or by a failure.
            Err(if self.capacity.is_closed() { AskError::Stopped } else { AskError::Crashed })
        })
    }

    /// Queues `message` and does not wait. Refuses when the mailbox is full.
    pub fn tell<M>(&self, message: M) -> Result<(), AskError>
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        let permit = Permit::acquire(&self.capacity)?;
        self.send(Envelope {
            message,
            reply: ReplyContext { sender: ReplySender::detached(), permit, tried: false },
        })
    }

    /// Returns the address of this actor for one kind of message, its type forgotten.
    pub fn recipient<M>(&self) -> Recipient<M>
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        let mailbox = self.clone();
        Recipient(Arc::new(move |message| mailbox.tell(message)))
    }

    pub(crate) fn tell_unbounded<M>(&self, message: M)
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        let permit = Permit::acquire_unbounded(&self.capacity);
        // A stopped actor needs no results any more.
        let _ = self.send(Envelope {
            message,
            reply: ReplyContext { sender: ReplySender::detached(), permit, tried: false },
        });
    }

    /// Tells the cell that work it did not see failed.
    #[expect(clippy::disallowed_methods, reason = "as many as what failed")]
    pub(crate) fn report(&self, failed: WorkerFailed<W>) {
        self.addr.do_send(failed);
    }

    /// Has the worker finish behind all that is queued.
    #[expect(clippy::disallowed_methods, reason = "once in a life")]
    pub(crate) fn finish(&self, done: oneshot::Sender<()>) {
        self.addr.do_send(Shutdown(done));
    }

    /// Makes the worker fail, for tests of what its users see then.
    pub(crate) fn inject(&self, fault: Fault) {
        self.tell_unbounded(fault);
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that counts what it sends")]
    fn send<M>(&self, envelope: Envelope<M>) -> Result<(), AskError>
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        if !self.addr.connected() {
            return Err(AskError::Stopped);
        }
        self.addr.do_send(envelope);
        Ok(())
    }
}

/// Somebody who takes messages of one kind; who it is, the sender need not know.
pub struct Recipient<M>(Arc<dyn Fn(M) -> Result<(), AskError> + Send + Sync>);

impl<M> Clone for Recipient<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Recipient<M> {
    /// Queues `message` and does not wait. Refuses when the mailbox behind is full.
    pub fn tell(&self, message: M) -> Result<(), AskError> {
        (self.0)(message)
    }
}

/// Returns a mailbox without an actor, whose far end the caller plays.
pub fn test_mailbox<M: Send + 'static>(capacity: usize) -> (Recipient<M>, mpsc::Receiver<M>) {
    let (sender, receiver) = mpsc::channel(capacity);
    let tell = move |message| {
        sender.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AskError::Busy,
            mpsc::error::TrySendError::Closed(_) => AskError::Stopped,
        })
    };
    (Recipient(Arc::new(tell)), receiver)
}

/// A message on its way.
pub(crate) struct Envelope<M: Message> {
    pub(crate) message: M,
    pub(crate) reply: ReplyContext<M::Result>,
}

impl<M: Message> Message for Envelope<M> {
    type Result = ();
}

/// What accompanies a message: its permit, and where the answer goes.
pub(crate) struct ReplyContext<T> {
    sender: ReplySender<T>,
    permit: Permit,
    /// Whether a worker has failed with it already.
    tried: bool,
}

impl<T> ReplyContext<T> {
    /// Whether there was an asker and it has gone: its answer would be for nobody.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.sender.is_abandoned()
    }

    /// Answers the asker, if there is one, and gives the permit back.
    pub(crate) fn answer(self, answer: Result<T, AskError>) {
        drop(self.permit);
        self.sender.send(answer);
    }

    /// Returns whether this is the first failure, and remembers it.
    pub(crate) fn first_failure(&mut self) -> bool {
        !std::mem::replace(&mut self.tried, true)
    }
}
