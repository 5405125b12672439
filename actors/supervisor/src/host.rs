//! The actix actor around a worker: it owns the mailbox, the worker comes and goes.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Message, Supervised, WrapFuture};
use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::failure::{Failure, Unavailable};
use crate::mailbox::{Mailbox, Queued};
use crate::restart::History;
use crate::status::Record;
use crate::supervisor::Limits;
use crate::worker::{Handler, Me, Reply, Worker};

/// What a failure takes along.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    /// The panic unwinds the context; the guard restarts all of it.
    Guard,
    /// The panic is caught around the one handler.
    Host,
}

/// Counts failures and says how long to pause; shared by a host and the guard around it.
pub(crate) struct Ledger {
    pub(crate) record: Arc<Record>,
    history: RefCell<History>,
}

impl Ledger {
    pub(crate) fn new(record: Arc<Record>, history: History) -> Rc<Self> {
        Rc::new(Self { record, history: RefCell::new(history) })
    }

    /// Notes a failure, logs it, and returns the pause before the rebuild.
    pub(crate) fn failed(&self, failure: &Failure) -> Duration {
        let pause = self.history.borrow_mut().pause(Instant::now(), jitter());
        self.record.failed(failure);
        log::error!("actor {} failed, restarting in {pause:?}: {failure}", self.record.name);
        pause
    }
}

/// Returns a number between 0 and 1 that neighbours do not share.
fn jitter() -> f64 {
    let mut byte = [0];
    // Without randomness the pause is just not spread.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut byte);
    f64::from(byte[0]) / 255.0
}

/// Something that a worker started has failed.
pub(crate) struct Failed {
    pub(crate) incarnation: u64,
    pub(crate) failure: Failure,
}

impl Message for Failed {
    type Result = ();
}

/// Makes the worker panic.
pub(crate) struct Crash;

impl Message for Crash {
    type Result = ();
}

pub(crate) struct Host<W: Worker> {
    shape: Shape,
    limits: Limits,
    factory: Box<dyn Fn() -> W>,
    mailbox: Mailbox<W>,
    ledger: Rc<Ledger>,
    /// `None` only while the mailbox is not read.
    alive: Option<(W, Me<W>)>,
    incarnation: u64,
    /// Answers in progress of a host: they own what they need and outlive the worker.
    answers: JoinSet<()>,
    slots: Rc<Semaphore>,
}

impl<W: Worker> Host<W> {
    pub(crate) fn new(
        shape: Shape,
        limits: Limits,
        factory: Box<dyn Fn() -> W>,
        mailbox: Mailbox<W>,
        ledger: Rc<Ledger>,
    ) -> Self {
        let slots = Rc::new(Semaphore::new(limits.at_once));
        let answers = JoinSet::new();
        Self {
            shape,
            limits,
            factory,
            mailbox,
            ledger,
            alive: None,
            incarnation: 0,
            answers,
            slots,
        }
    }

    /// Builds a fresh worker. A factory that panics counts as a failure like any other.
    fn build(&mut self, ctx: &mut Context<Self>) {
        self.incarnation += 1;
        let me = Me::new(self.mailbox.clone(), self.incarnation);
        let built = catch_unwind(AssertUnwindSafe(|| {
            let mut worker = (self.factory)();
            worker.started(&me);
            worker
        }));
        match built {
            Ok(worker) => {
                self.alive = Some((worker, me));
                self.ledger.record.built();
            }
            Err(payload) => {
                me.abort();
                self.fail(&Failure::panic(&*payload), ctx);
            }
        }
    }

    /// Throws the worker away and has a new one built after the pause that the policy asks for.
    fn fail(&mut self, failure: &Failure, ctx: &mut Context<Self>) {
        self.discard();
        let pause = self.ledger.failed(failure);
        // While the context waits it reads no mailbox: what is queued stays queued. Also for an
        // immediate restart, so that a factory that always panics does not recurse.
        let rest = tokio::time::sleep(pause).into_actor(self);
        ctx.wait(rest.map(|(), host, ctx| host.build(ctx)));
    }

    fn discard(&mut self) {
        if let Some((worker, me)) = self.alive.take() {
            me.abort();
            // The state is torn: dropping it may panic as well, and that must change nothing.
            if catch_unwind(AssertUnwindSafe(|| drop(worker))).is_err() {
                log::error!(
                    "actor {} panicked again while it was dropped",
                    self.ledger.record.name
                );
            }
        }
    }

    /// Runs `work` on the worker in the way of this shape; `None` when it panicked.
    fn run<T>(
        &mut self,
        ctx: &mut Context<Self>,
        work: impl FnOnce(&mut W, &Me<W>) -> T,
    ) -> Option<T> {
        let (worker, me) = self.alive.as_mut()?;
        if self.shape == Shape::Guard {
            return Some(work(worker, me));
        }
        match catch_unwind(AssertUnwindSafe(|| work(worker, me))) {
            Ok(done) => Some(done),
            Err(payload) => {
                self.fail(&Failure::panic(&*payload), ctx);
                None
            }
        }
    }

    /// Finishes an answer that takes time, under its deadline and beside other messages.
    fn finish<M>(
        &mut self,
        queued: Queued<M>,
        answer: std::pin::Pin<Box<dyn Future<Output = M::Result>>>,
        ctx: &mut Context<Self>,
    ) where
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let (mailbox, incarnation) = (self.mailbox.clone(), self.incarnation);
        let (slots, limit) = (Rc::clone(&self.slots), self.limits.handler);
        let answer = async move {
            let _slot = slots.acquire().await;
            tokio::time::timeout(limit, answer).await
        };
        let settle = move |queued: Queued<M>, failure: Failure, why: Unavailable| {
            queued.answer(Err(why));
            mailbox.report(Failed { incarnation, failure });
        };
        match self.shape {
            Shape::Guard => {
                let answer = async move {
                    match answer.await {
                        Ok(answer) => queued.answer(Ok(answer)),
                        Err(_) => settle(queued, Failure::Deadline(limit), Unavailable::TimedOut),
                    }
                };
                ctx.spawn(answer.into_actor(self));
            }
            Shape::Host => {
                while self.answers.try_join_next().is_some() {}
                self.answers.spawn_local(async move {
                    match AssertUnwindSafe(answer).catch_unwind().await {
                        Ok(Ok(answer)) => queued.answer(Ok(answer)),
                        Ok(Err(_)) => {
                            settle(queued, Failure::Deadline(limit), Unavailable::TimedOut);
                        }
                        Err(payload) => {
                            settle(queued, Failure::panic(&*payload), Unavailable::Crashed);
                        }
                    }
                });
            }
        }
    }
}

impl<W: Worker> Actor for Host<W> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.build(ctx);
    }
}

impl<W: Worker> Supervised for Host<W> {
    /// Called by the guard after a panic that unwound the context; `started` follows.
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.discard();
    }
}

impl<W, M> actix::Handler<Queued<M>> for Host<W>
where
    W: Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    type Result = ();

    fn handle(&mut self, queued: Queued<M>, ctx: &mut Context<Self>) {
        if queued.is_abandoned() {
            return;
        }
        match self.run(ctx, |worker, me| worker.handle(&queued.message, me)) {
            Some(Reply::Now(answer)) => queued.answer(Ok(answer)),
            Some(Reply::Later(answer)) => self.finish(queued, answer, ctx),
            None => queued.answer(Err(Unavailable::Crashed)),
        }
    }
}

impl<W: Worker> actix::Handler<Failed> for Host<W> {
    type Result = ();

    fn handle(&mut self, failed: Failed, ctx: &mut Context<Self>) {
        // Several answers of one incarnation may fail; it is thrown away once.
        if failed.incarnation == self.incarnation {
            self.fail(&failed.failure, ctx);
        }
    }
}

impl<W: Worker> actix::Handler<Crash> for Host<W> {
    type Result = ();

    fn handle(&mut self, _: Crash, ctx: &mut Context<Self>) {
        let _ = self.run(ctx, |_, _| -> () { panic!("crashed on request") });
    }
}
