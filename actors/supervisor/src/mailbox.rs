//! Bounded mailboxes: a permit is taken when a message is sent and given back when it is dealt with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use actix::{Addr, Message};
use tokio::sync::{mpsc, oneshot};

use crate::failure::Unavailable;
use crate::host::{Crash, Failed, Host};
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
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let permit = Permit::take(&self.gauge)?;
        let (reply, answer) = oneshot::channel();
        self.send(Queued { message, reply: Some(reply), permit })?;
        match tokio::time::timeout(self.patience, answer).await {
            Ok(Ok(answer)) => answer,
            // The message was dropped unanswered: its handler was cancelled by a failure.
            Ok(Err(_)) => Err(Unavailable::Crashed),
            Err(_) => Err(Unavailable::TimedOut),
        }
    }

    /// Queues `message` and does not wait. Refuses when the mailbox is full.
    pub fn tell<M>(&self, message: M) -> Result<(), Unavailable>
    where
        W: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let permit = Permit::take(&self.gauge)?;
        self.send(Queued { message, reply: None, permit })
    }

    /// Returns the address of this actor for one kind of message, its type forgotten.
    pub fn recipient<M>(&self) -> Recipient<M>
    where
        W: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let mailbox = self.clone();
        Recipient(Arc::new(move |message| mailbox.tell(message)))
    }

    pub(crate) fn tell_past_the_bound<M>(&self, message: M)
    where
        W: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let permit = Permit::take_past_the_bound(&self.gauge);
        // A stopped actor needs no results any more.
        let _ = self.send(Queued { message, reply: None, permit });
    }

    /// Tells the host that work it did not see failed.
    #[expect(clippy::disallowed_methods, reason = "the one place that counts what it sends")]
    pub(crate) fn report(&self, failed: Failed) {
        self.addr.do_send(failed);
    }

    /// Makes the worker panic, for tests of what its users see then.
    #[expect(clippy::disallowed_methods, reason = "the one place that counts what it sends")]
    pub(crate) fn crash(&self) {
        self.addr.do_send(Crash);
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that counts what it sends")]
    fn send<M>(&self, queued: Queued<M>) -> Result<(), Unavailable>
    where
        W: Handler<M>,
        M: Message + Send + 'static,
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

/// A message on its way: its permit, and where the answer goes.
pub(crate) struct Queued<M: Message> {
    pub(crate) message: M,
    reply: Option<oneshot::Sender<Result<M::Result, Unavailable>>>,
    permit: Permit,
}

impl<M: Message> Message for Queued<M> {
    type Result = ();
}

impl<M: Message> Queued<M> {
    /// Whether there was an asker and it has gone: its answer would be for nobody.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| reply.is_closed())
    }

    /// Answers the asker, if there is one, and gives the permit back.
    pub(crate) fn answer(self, answer: Result<M::Result, Unavailable>) {
        drop(self.permit);
        if let Some(reply) = self.reply {
            // An asker that has gone needs no answer.
            let _ = reply.send(answer);
        }
    }
}

/// Counts what is queued or in work at one actor.
pub(crate) struct Gauge {
    capacity: usize,
    depth: AtomicUsize,
    high_water: AtomicUsize,
    refused: AtomicU64,
}

impl Gauge {
    pub(crate) fn new(capacity: usize) -> Self {
        let (depth, high_water) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { capacity, depth, high_water, refused: AtomicU64::new(0) }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn depth(&self) -> usize {
        self.depth.load(Relaxed)
    }

    pub(crate) fn high_water(&self) -> usize {
        self.high_water.load(Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

/// A place in a mailbox; free again when dropped.
struct Permit(Arc<Gauge>);

impl Permit {
    fn take(gauge: &Arc<Gauge>) -> Result<Self, Unavailable> {
        let before = gauge.depth.fetch_add(1, Relaxed);
        // From here on the permit gives the place back, also when it is refused.
        let permit = Self(Arc::clone(gauge));
        if before >= gauge.capacity {
            gauge.refused.fetch_add(1, Relaxed);
            return Err(Unavailable::Busy);
        }
        gauge.high_water.fetch_max(before + 1, Relaxed);
        Ok(permit)
    }

    fn take_past_the_bound(gauge: &Arc<Gauge>) -> Self {
        let before = gauge.depth.fetch_add(1, Relaxed);
        gauge.high_water.fetch_max(before + 1, Relaxed);
        Self(Arc::clone(gauge))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.depth.fetch_sub(1, Relaxed);
    }
}
