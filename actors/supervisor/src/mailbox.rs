//! The addresses that askers hold, and messages on their way.

use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Message};
use tokio::sync::{mpsc, oneshot};

use crate::failure::Unavailable;
use crate::fault::Fault;
use crate::gauge::{Gauge, Permit};
use crate::host::{Failed, Finish, Host};
use crate::letter::{Sender, letter};
use crate::worker::{Handler, Worker};

/// The address of an actor; cheap to clone. It stays good across restarts.
pub struct Mailbox<W: Worker> {
    addr: Addr<Host<W>>,
    gauge: Arc<Gauge>,
    /// How long an asker waits, queueing included.
    patience: Duration,
}

impl<W: Worker> Clone for Mailbox<W> {
    fn clone(&self) -> Self {
        let Self { addr, gauge, patience } = self;
        Self { addr: addr.clone(), gauge: Arc::clone(gauge), patience: *patience }
    }
}

impl<W: Worker> Mailbox<W> {
    pub(crate) fn new(addr: Addr<Host<W>>, gauge: Arc<Gauge>, patience: Duration) -> Self {
        Self { addr, gauge, patience }
    }

    /// Queues `message` and returns its answer.
    ///
    /// Refuses at once when the mailbox is full, and when no answer came within
    /// [`Limits::answer`](crate::Limits::answer).
    pub async fn ask<M>(&self, message: M) -> Result<M::Result, Unavailable>
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        let permit = Permit::take(&self.gauge)?;
        let (reply, answer) = letter();
        self.send(Queued { message, slip: Slip { reply, permit, tried: false } })?;
        answer.wait(self.patience).await.unwrap_or_else(|| {
            // The message was dropped unanswered, by the end of the actor or by a failure.
            Err(if self.gauge.is_closed() { Unavailable::Stopped } else { Unavailable::Crashed })
        })
    }

    /// Queues `message` and does not wait. Refuses when the mailbox is full.
    pub fn tell<M>(&self, message: M) -> Result<(), Unavailable>
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        let permit = Permit::take(&self.gauge)?;
        self.send(Queued { message, slip: Slip { reply: Sender::idle(), permit, tried: false } })
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

    pub(crate) fn tell_past_the_bound<M>(&self, message: M)
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        let permit = Permit::take_past_the_bound(&self.gauge);
        // A stopped actor needs no results any more.
        let _ = self
            .send(Queued { message, slip: Slip { reply: Sender::idle(), permit, tried: false } });
    }

    /// Tells the host that work it did not see failed.
    #[expect(clippy::disallowed_methods, reason = "as many as what failed")]
    pub(crate) fn report(&self, failed: Failed<W>) {
        self.addr.do_send(failed);
    }

    /// Has the worker finish behind all that is queued.
    #[expect(clippy::disallowed_methods, reason = "once in a life")]
    pub(crate) fn finish(&self, done: oneshot::Sender<()>) {
        self.addr.do_send(Finish(done));
    }

    /// Makes the worker fail, for tests of what its users see then.
    pub(crate) fn inject(&self, fault: Fault) {
        self.tell_past_the_bound(fault);
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that counts what it sends")]
    fn send<M>(&self, queued: Queued<M>) -> Result<(), Unavailable>
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        if !self.addr.connected() {
            return Err(Unavailable::Stopped);
        }
        self.addr.do_send(queued);
        Ok(())
    }
}

/// Somebody who takes messages of one kind; who it is, the sender need not know.
pub struct Recipient<M>(Arc<dyn Fn(M) -> Result<(), Unavailable> + Send + Sync>);

impl<M> Clone for Recipient<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Recipient<M> {
    /// Queues `message` and does not wait. Refuses when the mailbox behind is full.
    pub fn tell(&self, message: M) -> Result<(), Unavailable> {
        (self.0)(message)
    }
}

/// Returns a mailbox without an actor, whose far end the caller plays.
pub fn bare<M: Send + 'static>(capacity: usize) -> (Recipient<M>, mpsc::Receiver<M>) {
    let (sender, receiver) = mpsc::channel(capacity);
    let tell = move |message| {
        sender.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unavailable::Busy,
            mpsc::error::TrySendError::Closed(_) => Unavailable::Stopped,
        })
    };
    (Recipient(Arc::new(tell)), receiver)
}

/// A message on its way.
pub(crate) struct Queued<M: Message> {
    pub(crate) message: M,
    pub(crate) slip: Slip<M::Result>,
}

impl<M: Message> Message for Queued<M> {
    type Result = ();
}

/// What accompanies a message: its permit, and where the answer goes.
pub(crate) struct Slip<T> {
    reply: Sender<T>,
    permit: Permit,
    /// Whether a worker has failed with it already.
    tried: bool,
}

impl<T> Slip<T> {
    /// Whether there was an asker and it has gone: its answer would be for nobody.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.is_for_nobody()
    }

    /// Answers the asker, if there is one, and gives the permit back.
    pub(crate) fn answer(self, answer: Result<T, Unavailable>) {
        drop(self.permit);
        self.reply.send(answer);
    }

    /// Returns whether this is the first failure, and remembers it.
    pub(crate) fn first_failure(&mut self) -> bool {
        !std::mem::replace(&mut self.tried, true)
    }
}
