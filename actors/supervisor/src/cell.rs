//! The actix actor around a worker: it owns the mailbox, the worker comes and goes.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, ActorFutureExt, AsyncContext, Message, Supervised, WrapFuture};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use crate::dedicated::{DedicatedThread, LeakedThreads, within};
use crate::failure::{AskError, Failure};
use crate::failure_tracker::FailureTracker;
use crate::in_flight::InFlight;
use crate::limits::Limits;
use crate::mailbox::{Envelope, Mailbox, ReplyContext};
use crate::worker::{Context, Handler, Reply, Worker};

/// How many messages are handled before other work on the same thread has its turn: a flood must
/// starve neither answers in progress nor the heartbeat.
const YIELD_EVERY: u32 = 1024;

/// Where the worker lives, and how it is made.
pub(crate) enum Placement<W: Worker> {
    /// On the thread of its actor cell.
    Local(LocalWorker<W>),
    /// On a thread of its own, which it may block.
    Dedicated(DedicatedThread<W>),
}

pub(crate) struct LocalWorker<W: Worker> {
    factory: Box<dyn Fn() -> W>,
    /// `None` only while the mailbox is not read.
    alive: Option<(W, Context<W>)>,
    /// Whether answers in progress outlive the worker.
    keeps_in_flight: bool,
}

impl<W: Worker> Placement<W> {
    pub(crate) fn local(factory: impl Fn() -> W + 'static, keeps_in_flight: bool) -> Self {
        Self::Local(LocalWorker { factory: Box::new(factory), alive: None, keeps_in_flight })
    }

    pub(crate) fn dedicated(
        factory: impl Fn() -> W + Send + Sync + 'static,
        leaked: LeakedThreads,
    ) -> Self {
        Self::Dedicated(DedicatedThread::new(factory, leaked))
    }
}

/// A message that a worker has failed with, to be given to the next one.
pub(crate) type Retry<W> =
    Box<dyn FnOnce(&mut ActorCell<W>, &mut actix::Context<ActorCell<W>>) + Send>;

/// Something that a worker started has failed.
pub(crate) struct WorkerFailed<W: Worker> {
    incarnation: u64,
    failure: Failure,
    retry: Option<Retry<W>>,
}

impl<W: Worker> WorkerFailed<W> {
    pub(crate) fn new(incarnation: u64, failure: Failure) -> Self {
        Self { incarnation, failure, retry: None }
    }

    pub(crate) fn with(self, retry: Retry<W>) -> Self {
        Self { retry: Some(retry), ..self }
    }
}

impl<W: Worker> Message for WorkerFailed<W> {
    type Result = ();
}

/// Ends the worker; what is queued before it is dealt with first.
pub(crate) struct Shutdown(pub(crate) oneshot::Sender<()>);

impl Message for Shutdown {
    type Result = ();
}

pub(crate) struct ActorCell<W: Worker> {
    placement: Placement<W>,
    limits: Limits,
    mailbox: Mailbox<W>,
    tracker: Rc<FailureTracker>,
    incarnation: u64,
    in_flight: Rc<InFlight>,
    retries: VecDeque<Retry<W>>,
    /// Messages handled without a break.
    handled: u32,
}

impl<W: Worker> ActorCell<W> {
    pub(crate) fn new(
        placement: Placement<W>,
        limits: Limits,
        mailbox: Mailbox<W>,
        tracker: Rc<FailureTracker>,
        in_flight: Rc<InFlight>,
    ) -> Self {
        let retries = VecDeque::new();
        Self { placement, limits, mailbox, tracker, incarnation: 0, in_flight, retries, handled: 0 }
    }

    /// Builds a fresh worker and, when it is ready, lets it read.
    fn build(&mut self, ctx: &mut actix::Context<Self>) {
        self.incarnation += 1;
        let (mailbox, incarnation) = (self.mailbox.clone(), self.incarnation);
        let ready = match &mut self.placement {
            Placement::Local(local) => match local.build(mailbox, incarnation) {
                Ok(None) => return self.serve(ctx),
                Ok(Some(ready)) => within(self.limits.start_timeout, ready).left_future(),
                Err(failure) => return self.fail(&failure, ctx),
            },
            Placement::Dedicated(thread) => {
                thread.build(mailbox, incarnation, self.limits.start_timeout).right_future()
            }
        };
        ctx.wait(ready.into_actor(self).map(|ready, cell, ctx| match ready {
            Ok(()) => cell.serve(ctx),
            Err(failure) => cell.fail(&failure, ctx),
        }));
    }

    /// Begins to read, with what the last worker failed with.
    fn serve(&mut self, ctx: &mut actix::Context<Self>) {
        self.tracker.ready();
        self.retry(ctx);
    }

    fn retry(&mut self, ctx: &mut actix::Context<Self>) {
        while !ctx.waiting()
            && let Some(retry) = self.retries.pop_front()
        {
            retry(self, ctx);
        }
    }

    /// Throws the worker away and leaves it to the runner to start this context again. Until then
    /// the context waits and reads no mailbox: what is queued stays queued.
    fn fail(&mut self, failure: &Failure, ctx: &mut actix::Context<Self>) {
        match &mut self.placement {
            Placement::Dedicated(thread) if matches!(failure, Failure::Deadline(_)) => {
                match thread.abandon() {
                    true => self.tracker.failed(failure),
                    false => self.tracker.escalate(failure),
                }
            }
            _ => self.tracker.failed(failure),
        }
        self.discard();
        ctx.wait(std::future::pending().into_actor(self));
    }

    fn discard(&mut self) {
        match &mut self.placement {
            Placement::Local(local) => {
                if !local.keeps_in_flight {
                    self.in_flight.cancel();
                }
                local.discard(self.tracker.record.name);
            }
            Placement::Dedicated(thread) => thread.leave(),
        }
    }

    /// Gives a message to the worker.
    pub(crate) fn deliver<M>(&mut self, envelope: Envelope<M>, ctx: &mut actix::Context<Self>)
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        if envelope.reply.is_abandoned() {
            return;
        }
        let (worker, context) = match &mut self.placement {
            Placement::Local(LocalWorker { alive: Some((worker, context)), .. }) => {
                (worker, context)
            }
            Placement::Local(_) => return envelope.reply.answer(Err(AskError::Stopped)),
            Placement::Dedicated(_) => {
                return self.hand_over(Arc::new(envelope.message), envelope.reply, ctx);
            }
        };
        let reply = catch_unwind(AssertUnwindSafe(|| worker.handle(&envelope.message, context)));
        let fatal_error = context.fatal_error();
        match reply {
            Ok(Reply::Now(answer)) if fatal_error.is_none() => envelope.reply.answer(Ok(answer)),
            Ok(Reply::Now(answer)) => match into_retry(envelope) {
                Ok(retry) => self.retries.push_back(retry),
                Err(reply) => reply.answer(Ok(answer)),
            },
            Ok(Reply::Later(answer)) => {
                let mailbox = self.mailbox.clone();
                self.in_flight.begin(envelope, answer, mailbox, self.incarnation);
            }
            Err(payload) => {
                let failure = Failure::panic(&*payload);
                match into_retry(envelope) {
                    Ok(retry) => self.retries.push_back(retry),
                    Err(reply) => reply.answer(Err(failure.as_ask_error())),
                }
                return self.fail(&failure, ctx);
            }
        }
        if let Some(failure) = fatal_error {
            self.fail(&failure, ctx);
        }
    }

    /// Gives a message to the worker on the other thread and waits for it.
    fn hand_over<M>(
        &mut self,
        message: Arc<M>,
        reply: ReplyContext<M::Result>,
        ctx: &mut actix::Context<Self>,
    ) where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        let Placement::Dedicated(thread) = &self.placement else { return };
        let limit = W::timeout(&message).unwrap_or(self.limits.handler_timeout);
        let outcome = thread.submit_message(Arc::clone(&message), limit);
        ctx.wait(outcome.into_actor(self).map(move |(answer, fatal_error), cell, ctx| {
            let failure = answer.as_ref().err().cloned().or(fatal_error);
            let Some(failure) = failure else {
                return reply.answer(answer.map_err(|f| f.as_ask_error()));
            };
            let mut reply = reply;
            if W::IDEMPOTENT && reply.first_failure() {
                cell.retries
                    .push_back(Box::new(move |cell, ctx| cell.hand_over(message, reply, ctx)));
            } else {
                reply.answer(answer.map_err(|failure| failure.as_ask_error()));
            }
            cell.fail(&failure, ctx);
        }));
    }
}

impl<W: Worker> LocalWorker<W> {
    /// A factory that panics is a failure like any other.
    fn build(
        &mut self,
        mailbox: Mailbox<W>,
        incarnation: u64,
    ) -> Result<Option<LocalBoxFuture<'static, Result<(), String>>>, Failure> {
        let context = Context::new(mailbox, incarnation, false);
        let built = catch_unwind(AssertUnwindSafe(|| {
            let mut worker = (self.factory)();
            worker.started(&context);
            let ready = worker.ready(&context);
            (worker, ready)
        }));
        let (worker, ready) = built.map_err(|payload| {
            context.abort();
            Failure::panic(&*payload)
        })?;
        let fatal_error = context.fatal_error();
        self.alive = Some((worker, context));
        fatal_error.map_or(Ok(ready), Err)
    }

    fn discard(&mut self, name: &str) {
        let Some((worker, context)) = self.alive.take() else { return };
        context.abort();
        // The state is torn: dropping it may panic as well, and that must change nothing.
        if catch_unwind(AssertUnwindSafe(|| drop(worker))).is_err() {
            log::error!("actor {name} panicked again while it was dropped");
        }
    }

    fn stopping(&mut self) -> Option<LocalBoxFuture<'static, ()>> {
        let (worker, context) = self.alive.as_mut()?;
        catch_unwind(AssertUnwindSafe(|| worker.stopping(context))).unwrap_or_default()
    }
}

/// Returns a message as one to be tried again, or just its reply context if it must not be.
pub(crate) fn into_retry<W, M>(
    mut envelope: Envelope<M>,
) -> Result<Retry<W>, ReplyContext<M::Result>>
where
    W: Handler<M>,
    M: Message + Send + Sync + 'static,
    M::Result: Send,
{
    if !W::IDEMPOTENT || !envelope.reply.first_failure() {
        return Err(envelope.reply);
    }
    Ok(Box::new(move |cell, ctx| cell.deliver(envelope, ctx)))
}

impl<W: Worker> Actor for ActorCell<W> {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut actix::Context<Self>) {
        if !self.tracker.is_over() {
            self.build(ctx);
        }
    }
}

impl<W: Worker> Supervised for ActorCell<W> {
    /// called by the runner; `started` follows when it polls this context again.
    fn restarting(&mut self, _: &mut actix::Context<Self>) {
        self.discard();
    }
}

impl<W, M> actix::Handler<Envelope<M>> for ActorCell<W>
where
    W: Handler<M>,
    M: Message + Send + Sync + 'static,
    M::Result: Send,
{
    type Result = ();

    fn handle(&mut self, envelope: Envelope<M>, ctx: &mut actix::Context<Self>) {
        self.deliver(envelope, ctx);
        self.handled = self.handled.wrapping_add(1);
        if self.handled.is_multiple_of(YIELD_EVERY) {
            ctx.wait(tokio::task::yield_now().into_actor(self));
        }
    }
}

impl<W: Worker> actix::Handler<WorkerFailed<W>> for ActorCell<W> {
    type Result = ();

    fn handle(&mut self, failed: WorkerFailed<W>, ctx: &mut actix::Context<Self>) {
        self.retries.extend(failed.retry);
        // Several answers of one incarnation may fail; it is thrown away once.
        if failed.incarnation == self.incarnation {
            self.fail(&failed.failure, ctx);
        } else {
            self.retry(ctx);
        }
    }
}

impl<W: Worker> actix::Handler<Shutdown> for ActorCell<W> {
    type Result = ();

    fn handle(&mut self, Shutdown(done): Shutdown, ctx: &mut actix::Context<Self>) {
        let stopping = match &mut self.placement {
            Placement::Local(local) => local.stopping(),
            Placement::Dedicated(thread) => Some(thread.stopping()),
        };
        let in_flight = self.in_flight.finished();
        let finish = async move {
            if let Some(stopping) = stopping {
                // Whatever it panics about, it stops.
                let _ = AssertUnwindSafe(stopping).catch_unwind().await;
            }
            in_flight.await;
            // Whoever asked for it may have run out of patience.
            let _ = done.send(());
        };
        ctx.wait(finish.into_actor(self));
    }
}
