//! The guard: polls an actor's context where a panic cannot end it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll, ready};

use actix::Context;
use actix::dev::ContextFut;
use tokio::time::Sleep;

use crate::failure::Failure;
use crate::host::{Host, Ledger};
use crate::worker::Worker;

/// Runs a host's context and restarts it after a panic. `ContextFut::restart` keeps the mailbox,
/// so every address stays good; a pause is simply not polling it for a while.
pub(crate) struct Guard<W: Worker> {
    context: ContextFut<Host<W>, Context<Host<W>>>,
    pause: Option<Pin<Box<Sleep>>>,
    ledger: Rc<Ledger>,
}

impl<W: Worker> Guard<W> {
    pub(crate) fn new(context: Context<Host<W>>, host: Host<W>, ledger: Rc<Ledger>) -> Self {
        Self { context: context.into_future(host), pause: None, ledger }
    }
}

impl<W: Worker> Future for Guard<W> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(task));
                this.pause = None;
                if !this.context.restart() {
                    this.ledger.record.stopped();
                    return Poll::Ready(());
                }
            }
            let context = AssertUnwindSafe(|| Pin::new(&mut this.context).poll(task));
            match catch_unwind(context) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => {
                    this.ledger.record.stopped();
                    return Poll::Ready(());
                }
                Err(payload) => {
                    let pause = this.ledger.failed(&Failure::panic(&*payload));
                    this.pause = Some(Box::pin(tokio::time::sleep(pause)));
                }
            }
        }
    }
}
