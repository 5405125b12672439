//! The actix actor around a worker: the cell keeps the mailbox while workers come and go.
//!
//! `cell`, `mailbox` and `worker` import one another, by necessity: a worker's context holds its
//! mailbox, the mailbox holds the actix address of the cell, and the cell holds the worker. All
//! other files of this crate depend in one direction.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Message, Supervised, WrapFuture};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use crate::deadline::timeout;
use crate::failure::{AskError, Failure};
use crate::failure_tracker::FailureTracker;
use crate::in_flight::InFlight;
use crate::mailbox::{Envelope, Mailbox, ReplyContext};
use crate::request_id::RequestId;
use crate::worker::{Context, Handler, Reply, Worker};

/// How many messages are handled before other work on this thread has its turn: a flood must starve
/// neither answers in progress nor the heartbeat.
const YIELD_EVERY: u32 = 1024;

/// A message that a worker has failed with, to be given to the next one.
type Retry<W> = Box<dyn FnOnce(&mut ActorCell<W>, &mut actix::Context<ActorCell<W>>) + Send>;

/// Tells the cell that something its worker started has failed.
pub(crate) struct WorkerFailed<W: Worker> {
    incarnation: u64,
    failure: Failure,
    retry: Option<Retry<W>>,
}

impl<W: Worker> WorkerFailed<W> {
    pub(crate) fn new(incarnation: u64, failure: Failure) -> Self {
        Self { incarnation, failure, retry: None }
    }
}

impl<W: Worker> Message for WorkerFailed<W> {
    type Result = ();
}

/// Stops the worker; what is queued before is dealt with first.
pub(crate) struct Shutdown(pub(crate) oneshot::Sender<()>);

impl Message for Shutdown {
    type Result = ();
}

/// Keeps an actor's mailbox and gives its messages to the worker of the moment.
pub(crate) struct ActorCell<W: Worker> {
    factory: Box<dyn Fn() -> W>,
    /// `None` only while the mailbox is not read.
    worker: Option<(W, Context<W>)>,
    /// Numbers the workers, so that what an old one started cannot fail a new one.
    incarnation: u64,
    mailbox: Mailbox<W>,
    tracker: Rc<FailureTracker>,
    in_flight: Rc<InFlight>,
    keeps_in_flight: bool,
    handler_timeout: Duration,
    retries: VecDeque<Retry<W>>,
    /// How many messages were handled, for [`YIELD_EVERY`].
    handled: u32,
}

impl<W: Worker> ActorCell<W> {
    /// Makes the cell of an actor without a worker; the first one is built when it starts. Futures
    /// that a worker has begun outlive it if `keeps_in_flight`.
    pub(crate) fn new(
        factory: Box<dyn Fn() -> W>,
        mailbox: Mailbox<W>,
        tracker: Rc<FailureTracker>,
        in_flight: Rc<InFlight>,
        keeps_in_flight: bool,
        handler_timeout: Duration,
    ) -> Self {
        Self {
            factory,
            worker: None,
            incarnation: 0,
            mailbox,
            tracker,
            in_flight,
            keeps_in_flight,
            handler_timeout,
            retries: VecDeque::new(),
            handled: 0,
        }
    }

    /// Builds a fresh worker and gives it what the last one failed with. A factory that panics is a
    /// failure like any other.
    fn build(&mut self, ctx: &mut actix::Context<Self>) {
        self.incarnation += 1;
        let context = Context::new(self.mailbox.clone(), self.incarnation);
        let built = catch_unwind(AssertUnwindSafe(|| {
            let mut worker = (self.factory)();
            worker.started(&context);
            worker
        }));
        let fatal_error = context.fatal_error();
        match built {
            Ok(worker) => self.worker = Some((worker, context)),
            Err(payload) => {
                context.abort();
                return self.fail(&Failure::panic(&*payload), ctx);
            }
        }
        if let Some(failure) = fatal_error {
            return self.fail(&failure, ctx);
        }
        self.tracker.running();
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
        self.tracker.failed(failure);
        self.discard();
        ctx.wait(std::future::pending().into_actor(self));
    }

    fn discard(&mut self) {
        if !self.keeps_in_flight {
            self.in_flight.cancel();
        }
        let Some((worker, context)) = self.worker.take() else { return };
        context.abort();
        // The state is torn: dropping it may panic as well, and that must change nothing.
        if catch_unwind(AssertUnwindSafe(|| drop(worker))).is_err() {
            let actor = self.tracker.record.name;
            log::error!(actor:% = actor; "actor {actor} panicked again while it was dropped");
        }
    }

    /// Gives a message to the worker.
    fn deliver<M>(&mut self, envelope: Envelope<M>, ctx: &mut actix::Context<Self>)
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        if envelope.reply.is_abandoned() {
            return;
        }
        let Some((worker, context)) = &mut self.worker else {
            return envelope.reply.answer(Err(AskError::Stopped));
        };
        let request = envelope.request.clone();
        let reply = catch_unwind(AssertUnwindSafe(|| match request.clone() {
            Some(id) => RequestId::within(Some(id), || worker.handle(&envelope.message, context)),
            None => worker.handle(&envelope.message, context),
        }));
        let fatal_error = context.fatal_error();
        match reply {
            Ok(Reply::Now(answer)) if fatal_error.is_none() => envelope.reply.answer(Ok(answer)),
            Ok(Reply::Now(answer)) => self.retry_or_answer(envelope, Ok(answer)),
            Ok(Reply::Later(answer)) => {
                let answer: LocalBoxFuture<'static, M::Result> = match request {
                    Some(id) => Box::pin(RequestId::scope(Some(id), answer)),
                    None => answer,
                };
                self.begin(envelope, answer);
            }
            Err(payload) => {
                let failure = Failure::panic(&*payload);
                self.retry_or_answer(envelope, Err(failure.as_ask_error()));
                return self.fail(&failure, ctx);
            }
        }
        if let Some(failure) = fatal_error {
            self.fail(&failure, ctx);
        }
    }

    /// Keeps a message for the next worker if it may be tried again, and answers it otherwise.
    fn retry_or_answer<M>(&mut self, envelope: Envelope<M>, answer: Result<M::Result, AskError>)
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        match into_retry(envelope) {
            Ok(retry) => self.retries.push_back(retry),
            Err(reply) => reply.answer(answer),
        }
    }

    /// Runs the future of an answer beside other messages, until its deadline.
    fn begin<M>(&self, envelope: Envelope<M>, answer: LocalBoxFuture<'static, M::Result>)
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        let limit = W::timeout(&envelope.message).unwrap_or(self.handler_timeout);
        let (mailbox, incarnation) = (self.mailbox.clone(), self.incarnation);
        self.in_flight.begin(Box::pin(async move {
            let failure = match timeout(limit, AssertUnwindSafe(answer).catch_unwind()).await {
                Some(Ok(answer)) => return envelope.reply.answer(Ok(answer)),
                Some(Err(payload)) => Failure::panic(&*payload),
                None => Failure::Deadline(limit),
            };
            // The cell is told before the asker, whose next message is then for the next worker.
            let error = failure.as_ask_error();
            match into_retry(envelope) {
                Ok(retry) => {
                    mailbox.report(WorkerFailed { incarnation, failure, retry: Some(retry) });
                }
                Err(reply) => {
                    mailbox.report(WorkerFailed::new(incarnation, failure));
                    reply.answer(Err(error));
                }
            }
        }));
    }

    fn stopping(&mut self) -> Option<LocalBoxFuture<'static, ()>> {
        let (worker, context) = self.worker.as_mut()?;
        catch_unwind(AssertUnwindSafe(|| worker.stopping(context))).unwrap_or_default()
    }
}

/// Returns a message as one to be tried again, or just its reply context if it must not be.
fn into_retry<W, M>(mut envelope: Envelope<M>) -> Result<Retry<W>, ReplyContext<M::Result>>
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
        if !self.tracker.is_stopped() {
            self.build(ctx);
        }
    }
}

impl<W: Worker> Supervised for ActorCell<W> {
    /// Called by the runner; `started` follows when it polls this context again.
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
        let (stopping, in_flight) = (self.stopping(), self.in_flight.finished());
        let finish = async move {
            if let Some(stopping) = stopping {
                // Whatever it panics about, it stops.
                let _ = AssertUnwindSafe(stopping).catch_unwind().await;
            }
            in_flight.await;
        };
        let finish = finish.into_actor(self).map(|(), cell, _| {
            // What goes on beside it would ask those that are stopped next.
            if let Some((_, context)) = &cell.worker {
                context.abort();
            }
            // Whoever asked for it may have stopped waiting.
            let _ = done.send(());
        });
        ctx.wait(finish);
    }
}
