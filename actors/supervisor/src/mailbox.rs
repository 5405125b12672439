//! The addresses that askers hold, and the envelopes of messages on their way.

use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Message};
use tokio::sync::oneshot;

use crate::capacity::{Capacity, Permit};
use crate::cell::{ActorCell, Shutdown, WorkerFailed};
use crate::failure::AskError;
use crate::reply::{ReplySender, reply_channel};
use crate::request_id::RequestId;
use crate::worker::{Handler, Worker};

/// The address of an actor; cheap to clone, and good across restarts.
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
    /// # Errors
    ///
    /// - [`AskError::Busy`] at once when the mailbox is full;
    /// - [`AskError::Stopped`] when the actor has been stopped;
    /// - [`AskError::Crashed`] when the actor failed while it held the message;
    /// - [`AskError::TimedOut`] when the answer takes longer than
    ///   [`Limits::ask_timeout`](crate::Limits::ask_timeout).
    ///
    /// # Cancel safety
    ///
    /// A message whose asker is dropped before its turn is skipped; one in hand is dealt with, and
    /// its answer is lost.
    pub async fn ask<M>(&self, message: M) -> Result<M::Result, AskError>
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        let permit = Permit::acquire(&self.capacity)?;
        let (sender, answer) = reply_channel();
        self.send(Envelope::new(message, sender, permit))?;
        answer.wait(self.ask_timeout).await.unwrap_or_else(|| {
            // The message was dropped unanswered, by the end of the actor or by a failure.
            Err(if self.capacity.is_closed() { AskError::Stopped } else { AskError::Crashed })
        })
    }

    /// Queues `message` and does not wait.
    ///
    /// # Errors
    ///
    /// [`AskError::Busy`] when the mailbox is full, [`AskError::Stopped`] when the actor has been
    /// stopped.
    pub fn tell<M>(&self, message: M) -> Result<(), AskError>
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        self.send(Envelope::told(message, Permit::acquire(&self.capacity)?))
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

    /// Queues `message` even if the mailbox is full.
    pub(crate) fn tell_unbounded<M>(&self, message: M)
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        // A stopped actor needs no results any more.
        let _ = self.send(Envelope::told(message, Permit::acquire_unbounded(&self.capacity)));
    }

    /// Tells the cell that work it did not see has failed.
    #[expect(clippy::disallowed_methods, reason = "at most one for each piece of failed work")]
    pub(crate) fn report(&self, failed: WorkerFailed<W>) {
        self.addr.do_send(failed);
    }

    /// Has the worker stop behind all that is queued.
    #[expect(clippy::disallowed_methods, reason = "sent once")]
    pub(crate) fn shut_down(&self, done: oneshot::Sender<()>) {
        self.addr.do_send(Shutdown(done));
    }

    #[expect(clippy::disallowed_methods, reason = "the permit bounds what is sent")]
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

/// The address of an actor that takes messages `M`, whatever its type.
pub struct Recipient<M>(Arc<dyn Fn(M) -> Result<(), AskError> + Send + Sync>);

impl<M> Clone for Recipient<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Recipient<M> {
    /// Queues `message` and does not wait.
    ///
    /// # Errors
    ///
    /// As [`Mailbox::tell`].
    pub fn tell(&self, message: M) -> Result<(), AskError> {
        (self.0)(message)
    }
}

/// A message on its way.
pub(crate) struct Envelope<M: Message> {
    pub(crate) message: M,
    pub(crate) reply: ReplyContext<M::Result>,
    /// The request that its sender works for.
    pub(crate) request: Option<RequestId>,
}

impl<M: Message> Envelope<M> {
    fn new(message: M, sender: ReplySender<M::Result>, permit: Permit) -> Self {
        let reply = ReplyContext { sender, permit, tried: false };
        Self { message, reply, request: RequestId::current() }
    }

    /// A message whose answer nobody waits for.
    fn told(message: M, permit: Permit) -> Self {
        Self::new(message, ReplySender::detached(), permit)
    }
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
    /// Whether there was an asker that does not wait any more.
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
