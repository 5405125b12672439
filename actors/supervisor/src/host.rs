//! The actix actor around a worker: it owns the mailbox, the worker comes and goes.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Message, Supervised, WrapFuture};
use futures_util::FutureExt;
use tokio::sync::oneshot;

use crate::answers::Answers;
use crate::failure::{Failure, Unavailable};
use crate::ledger::Ledger;
use crate::limits::Limits;
use crate::mailbox::{Mailbox, Queued, Slip};
use crate::thread::{Abandoned, Desk, within};
use crate::worker::{Handler, Me, Pending, Reply, Worker};

/// How many messages are handled before other work on the same thread has its turn: a flood must
/// starve neither answers in progress nor the heartbeat.
const TURN: u32 = 1024;

/// Where the worker lives, and how it is made.
pub(crate) enum Home<W: Worker> {
    /// On the thread of its host.
    Here(Here<W>),
    /// On a thread of its own, which it may block.
    Thread(Desk<W>),
}

pub(crate) struct Here<W: Worker> {
    factory: Box<dyn Fn() -> W>,
    /// `None` only while the mailbox is not read.
    alive: Option<(W, Me<W>)>,
    /// Whether answers in progress outlive the worker.
    keeps_answers: bool,
}

impl<W: Worker> Home<W> {
    pub(crate) fn here(factory: impl Fn() -> W + 'static, keeps_answers: bool) -> Self {
        Self::Here(Here { factory: Box::new(factory), alive: None, keeps_answers })
    }

    pub(crate) fn thread(
        factory: impl Fn() -> W + Send + Sync + 'static,
        abandoned: Abandoned,
    ) -> Self {
        Self::Thread(Desk::new(factory, abandoned))
    }
}

/// A message that a worker has failed with, to be given to the next one.
pub(crate) type Again<W> = Box<dyn FnOnce(&mut Host<W>, &mut Context<Host<W>>) + Send>;

/// Something that a worker started has failed.
pub(crate) struct Failed<W: Worker> {
    incarnation: u64,
    failure: Failure,
    again: Option<Again<W>>,
}

impl<W: Worker> Failed<W> {
    pub(crate) fn new(incarnation: u64, failure: Failure) -> Self {
        Self { incarnation, failure, again: None }
    }

    pub(crate) fn with(self, again: Again<W>) -> Self {
        Self { again: Some(again), ..self }
    }
}

impl<W: Worker> Message for Failed<W> {
    type Result = ();
}

/// Ends the worker; what is queued before it is dealt with first.
pub(crate) struct Finish(pub(crate) oneshot::Sender<()>);

impl Message for Finish {
    type Result = ();
}

pub(crate) struct Host<W: Worker> {
    home: Home<W>,
    limits: Limits,
    mailbox: Mailbox<W>,
    ledger: Rc<Ledger>,
    incarnation: u64,
    answers: Rc<Answers>,
    again: VecDeque<Again<W>>,
    /// Messages handled without a break.
    handled: u32,
}

impl<W: Worker> Host<W> {
    pub(crate) fn new(
        home: Home<W>,
        limits: Limits,
        mailbox: Mailbox<W>,
        ledger: Rc<Ledger>,
        answers: Rc<Answers>,
    ) -> Self {
        let again = VecDeque::new();
        Self { home, limits, mailbox, ledger, incarnation: 0, answers, again, handled: 0 }
    }

    /// Builds a fresh worker and, when it is ready, lets it read.
    fn build(&mut self, ctx: &mut Context<Self>) {
        self.incarnation += 1;
        let (mailbox, incarnation) = (self.mailbox.clone(), self.incarnation);
        let ready = match &mut self.home {
            Home::Here(here) => match here.build(mailbox, incarnation) {
                Ok(None) => return self.serve(ctx),
                Ok(Some(ready)) => within(self.limits.start, ready).left_future(),
                Err(failure) => return self.fail(&failure, ctx),
            },
            Home::Thread(desk) => {
                desk.build(mailbox, incarnation, self.limits.start).right_future()
            }
        };
        ctx.wait(ready.into_actor(self).map(|ready, host, ctx| match ready {
            Ok(()) => host.serve(ctx),
            Err(failure) => host.fail(&failure, ctx),
        }));
    }

    /// Begins to read, with what the last worker failed with.
    fn serve(&mut self, ctx: &mut Context<Self>) {
        self.ledger.ready();
        self.retry(ctx);
    }

    fn retry(&mut self, ctx: &mut Context<Self>) {
        while !ctx.waiting()
            && let Some(again) = self.again.pop_front()
        {
            again(self, ctx);
        }
    }

    /// Throws the worker away and leaves it to the guard to start this context again. Until then
    /// the context waits and reads no mailbox: what is queued stays queued.
    fn fail(&mut self, failure: &Failure, ctx: &mut Context<Self>) {
        match &mut self.home {
            Home::Thread(desk) if matches!(failure, Failure::Deadline(_)) => match desk.abandon() {
                true => self.ledger.failed(failure),
                false => self.ledger.escalate(failure),
            },
            _ => self.ledger.failed(failure),
        }
        self.discard();
        ctx.wait(std::future::pending().into_actor(self));
    }

    fn discard(&mut self) {
        match &mut self.home {
            Home::Here(here) => {
                if !here.keeps_answers {
                    self.answers.cancel();
                }
                here.discard(self.ledger.record.name);
            }
            Home::Thread(desk) => desk.leave(),
        }
    }

    /// Gives a message to the worker.
    pub(crate) fn take<M>(&mut self, queued: Queued<M>, ctx: &mut Context<Self>)
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        if queued.slip.is_abandoned() {
            return;
        }
        let (worker, me) = match &mut self.home {
            Home::Here(Here { alive: Some((worker, me)), .. }) => (worker, me),
            Home::Here(_) => return queued.slip.answer(Err(Unavailable::Stopped)),
            Home::Thread(_) => return self.hand_over(Arc::new(queued.message), queued.slip, ctx),
        };
        let reply = catch_unwind(AssertUnwindSafe(|| worker.handle(&queued.message, me)));
        let doom = me.doom();
        match reply {
            Ok(Reply::Now(answer)) if doom.is_none() => queued.slip.answer(Ok(answer)),
            Ok(Reply::Now(answer)) => match again(queued) {
                Ok(again) => self.again.push_back(again),
                Err(slip) => slip.answer(Ok(answer)),
            },
            Ok(Reply::Later(answer)) => {
                let mailbox = self.mailbox.clone();
                self.answers.begin(queued, answer, mailbox, self.incarnation);
            }
            Err(payload) => {
                let failure = Failure::panic(&*payload);
                match again(queued) {
                    Ok(again) => self.again.push_back(again),
                    Err(slip) => slip.answer(Err(failure.told())),
                }
                return self.fail(&failure, ctx);
            }
        }
        if let Some(failure) = doom {
            self.fail(&failure, ctx);
        }
    }

    /// Gives a message to the worker on the other thread and waits for it.
    fn hand_over<M>(&mut self, message: Arc<M>, slip: Slip<M::Result>, ctx: &mut Context<Self>)
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        let Home::Thread(desk) = &self.home else { return };
        let limit = W::limit(&message).unwrap_or(self.limits.handler);
        let outcome = desk.hand_over(Arc::clone(&message), limit);
        ctx.wait(outcome.into_actor(self).map(move |(answer, doom), host, ctx| {
            let failure = answer.as_ref().err().cloned().or(doom);
            let Some(failure) = failure else { return slip.answer(answer.map_err(|f| f.told())) };
            let mut slip = slip;
            if W::IDEMPOTENT && slip.first_failure() {
                host.again.push_back(Box::new(move |host, ctx| host.hand_over(message, slip, ctx)));
            } else {
                slip.answer(answer.map_err(|failure| failure.told()));
            }
            host.fail(&failure, ctx);
        }));
    }
}

impl<W: Worker> Here<W> {
    /// A factory that panics is a failure like any other.
    fn build(
        &mut self,
        mailbox: Mailbox<W>,
        incarnation: u64,
    ) -> Result<Option<Pending<Result<(), String>>>, Failure> {
        let me = Me::new(mailbox, incarnation, false);
        let built = catch_unwind(AssertUnwindSafe(|| {
            let mut worker = (self.factory)();
            worker.started(&me);
            let ready = worker.ready(&me);
            (worker, ready)
        }));
        let (worker, ready) = built.map_err(|payload| {
            me.abort();
            Failure::panic(&*payload)
        })?;
        let doom = me.doom();
        self.alive = Some((worker, me));
        doom.map_or(Ok(ready), Err)
    }

    fn discard(&mut self, name: &str) {
        let Some((worker, me)) = self.alive.take() else { return };
        me.abort();
        // The state is torn: dropping it may panic as well, and that must change nothing.
        if catch_unwind(AssertUnwindSafe(|| drop(worker))).is_err() {
            log::error!("actor {name} panicked again while it was dropped");
        }
    }

    fn stopping(&mut self) -> Option<Pending<()>> {
        let (worker, me) = self.alive.as_mut()?;
        catch_unwind(AssertUnwindSafe(|| worker.stopping(me))).unwrap_or_default()
    }
}

/// Returns a message as one to be tried again, or just its slip if it must not be.
pub(crate) fn again<W, M>(mut queued: Queued<M>) -> Result<Again<W>, Slip<M::Result>>
where
    W: Handler<M>,
    M: Message + Send + Sync + 'static,
    M::Result: Send,
{
    if !W::IDEMPOTENT || !queued.slip.first_failure() {
        return Err(queued.slip);
    }
    Ok(Box::new(move |host, ctx| host.take(queued, ctx)))
}

impl<W: Worker> Actor for Host<W> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if !self.ledger.is_over() {
            self.build(ctx);
        }
    }
}

impl<W: Worker> Supervised for Host<W> {
    /// Called by the guard; `started` follows when it polls this context again.
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.discard();
    }
}

impl<W, M> actix::Handler<Queued<M>> for Host<W>
where
    W: Handler<M>,
    M: Message + Send + Sync + 'static,
    M::Result: Send,
{
    type Result = ();

    fn handle(&mut self, queued: Queued<M>, ctx: &mut Context<Self>) {
        self.take(queued, ctx);
        self.handled = self.handled.wrapping_add(1);
        if self.handled.is_multiple_of(TURN) {
            ctx.wait(tokio::task::yield_now().into_actor(self));
        }
    }
}

impl<W: Worker> actix::Handler<Failed<W>> for Host<W> {
    type Result = ();

    fn handle(&mut self, failed: Failed<W>, ctx: &mut Context<Self>) {
        self.again.extend(failed.again);
        // Several answers of one incarnation may fail; it is thrown away once.
        if failed.incarnation == self.incarnation {
            self.fail(&failed.failure, ctx);
        } else {
            self.retry(ctx);
        }
    }
}

impl<W: Worker> actix::Handler<Finish> for Host<W> {
    type Result = ();

    fn handle(&mut self, Finish(done): Finish, ctx: &mut Context<Self>) {
        let stopping = match &mut self.home {
            Home::Here(here) => here.stopping(),
            Home::Thread(desk) => Some(desk.stopping()),
        };
        let answers = self.answers.finished();
        let finish = async move {
            if let Some(stopping) = stopping {
                // Whatever it panics about, it stops.
                let _ = AssertUnwindSafe(stopping).catch_unwind().await;
            }
            answers.await;
            // Whoever asked for it may have run out of patience.
            let _ = done.send(());
        };
        ctx.wait(finish.into_actor(self));
    }
}
