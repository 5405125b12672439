//! What an actor author writes, and what a worker can do beside answering.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use actix::Message;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::cell::WorkerFailed;
use crate::failure::Failure;
use crate::mailbox::Mailbox;
use crate::request_id::RequestId;
use crate::tasks::counted;

/// The state of an actor: built by its factory, thrown away when it fails, seen by nobody else.
pub trait Worker: Sized + Unpin + 'static {
    /// Called on fresh state, at the start and after every restart, before its first message.
    fn started(&mut self, _ctx: &Context<Self>) {}

    /// Called when the program ends, after the last message. The future it returns, if any, is
    /// awaited until the deadline of the shutdown.
    fn stopping(&mut self, _ctx: &Context<Self>) -> Option<LocalBoxFuture<'static, ()>> {
        None
    }
}

/// Answers one kind of message.
pub trait Handler<M: Message>: Worker {
    /// Whether doing it twice is as good as doing it once. A message in hand when the worker fails
    /// is then given to the next worker, once, and its asker notices nothing but the time.
    const IDEMPOTENT: bool = false;

    /// Returns how long the answer to `message` may take, if that is not
    /// [`Limits::handler_timeout`](crate::Limits::handler_timeout).
    fn timeout(_message: &M) -> Option<Duration> {
        None
    }

    /// Returns the answer, or a future that owns all it needs to find it. The message is borrowed,
    /// so that it outlives a failure.
    fn handle(&mut self, message: &M, ctx: &Context<Self>) -> Reply<M::Result>;
}

/// An answer, at once or later.
///
/// The future of a later answer runs beside other messages, for as long as
/// [`Limits::handler_timeout`](crate::Limits::handler_timeout) allows. It has no access to the
/// state: what it wants changed there it sends to the actor as a message.
pub enum Reply<T> {
    /// The answer.
    Now(T),
    /// What becomes the answer.
    Later(LocalBoxFuture<'static, T>),
}

impl<T> Reply<T> {
    /// Makes a reply of a future.
    pub fn later(answer: impl Future<Output = T> + 'static) -> Self {
        Self::Later(Box::pin(answer))
    }
}

impl<T> From<T> for Reply<T> {
    fn from(answer: T) -> Self {
        Self::Now(answer)
    }
}

/// A worker's access to its own actor: its mailbox, timers and background work. Timers and
/// background work end with the worker.
pub struct Context<W: Worker> {
    mailbox: Mailbox<W>,
    incarnation: u64,
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    tasks: RefCell<JoinSet<()>>,
    fatal_error: Cell<Option<String>>,
}

impl<W: Worker> Clone for Context<W> {
    fn clone(&self) -> Self {
        let Self { mailbox, incarnation, inner } = self;
        Self { mailbox: mailbox.clone(), incarnation: *incarnation, inner: Rc::clone(inner) }
    }
}

impl<W: Worker> Context<W> {
    pub(crate) fn new(mailbox: Mailbox<W>, incarnation: u64) -> Self {
        Self { mailbox, incarnation, inner: Rc::default() }
    }

    /// Returns the worker's own mailbox, to hand a [`Recipient`](crate::Recipient) of it to others.
    pub fn mailbox(&self) -> &Mailbox<W> {
        &self.mailbox
    }

    /// Queues a message to the worker itself, even if the mailbox is full: the result of finished
    /// work must not be lost, and there are no more such messages than work.
    pub fn tell<M>(&self, message: M)
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        self.mailbox.tell_unbounded(message);
    }

    /// Tells the worker `message` every `period`, first one period from now. A tick that finds the
    /// mailbox full is left out.
    pub fn every<M>(&self, period: Duration, message: M)
    where
        W: Handler<M>,
        M: Message + Clone + Send + Sync + 'static,
        M::Result: Send,
    {
        let mailbox = self.mailbox.clone();
        self.spawn(async move {
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if mailbox.tell(message.clone()).is_err() {
                    log::debug!("a timer tick found the mailbox full");
                }
            }
        });
    }

    /// Runs `work` in the background until it ends, the worker is thrown away or its shutdown is
    /// complete. A panic in it is a failure of the worker.
    pub fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        let (mailbox, incarnation) = (self.mailbox.clone(), self.incarnation);
        let mut tasks = self.inner.tasks.borrow_mut();
        // Finished tasks would pile up for as long as the worker lives.
        while tasks.try_join_next().is_some() {}
        let work = RequestId::scope(RequestId::current(), AssertUnwindSafe(work).catch_unwind());
        tasks.spawn_local(counted(async move {
            if let Err(payload) = work.await {
                mailbox.report(WorkerFailed::new(incarnation, Failure::panic(&*payload)));
            }
        }));
    }

    /// Declares that this worker cannot go on: it is restarted as after a panic. A message whose
    /// handler does so is answered first, unless it is idempotent and tried again.
    pub fn fail(&self, cause: impl Into<String>) {
        let cause = cause.into();
        self.inner.fatal_error.set(Some(cause.clone()));
        // The cell looks at the above only after a handler; there, this comes too late and is
        // ignored.
        self.mailbox.report(WorkerFailed::new(self.incarnation, Failure::Error(cause)));
    }

    /// Takes the cause if the worker has declared that it cannot go on.
    pub(crate) fn fatal_error(&self) -> Option<Failure> {
        self.inner.fatal_error.take().map(Failure::Error)
    }

    /// Ends all timers and background work of this worker.
    pub(crate) fn abort(&self) {
        self.inner.tasks.borrow_mut().abort_all();
    }
}
