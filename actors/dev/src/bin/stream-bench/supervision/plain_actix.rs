//! The actor of the bench on plain actix, on a thread of its own as ours are.

use std::sync::atomic::Ordering::Relaxed;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Arbiter, Context, Handler, Message, ResponseFuture};
use rustix::thread::sched_setaffinity;

use super::{ANSWERED, Later, Now, Settle};

pub(super) struct Echo;

impl Actor for Echo {
    type Context = Context<Self>;
}

impl Handler<Now> for Echo {
    type Result = u64;

    fn handle(&mut self, now: Now, _: &mut Context<Self>) -> u64 {
        ANSWERED.fetch_add(1, Relaxed);
        now.0
    }
}

impl Handler<Settle> for Echo {
    type Result = ();

    fn handle(&mut self, Settle(cores): Settle, _: &mut Context<Self>) {
        sched_setaffinity(None, &cores).expect("these are cores of this process");
    }
}

impl Handler<Later> for Echo {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, Later(number): Later, _: &mut Context<Self>) -> ResponseFuture<u64> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            ANSWERED.fetch_add(1, Relaxed);
            number
        })
    }
}

/// An address and the thread behind it, which ends with this.
pub(super) struct Plain {
    addr: Addr<Echo>,
    arbiter: Arbiter,
}

impl Plain {
    pub(super) fn start() -> Self {
        let arbiter = Arbiter::new();
        let addr = Echo::start_in_arbiter(&arbiter.handle(), |_| Echo);
        Self { addr, arbiter }
    }

    /// Queues without bound, which is what ours is compared with.
    #[expect(clippy::disallowed_methods, reason = "the other side of the comparison")]
    pub(super) fn tell<M>(&self, message: M) -> bool
    where
        Echo: Handler<M>,
        Context<Echo>: ToEnvelope<Echo, M>,
        M: Message + Send,
        M::Result: Send,
    {
        self.addr.do_send(message);
        true
    }

    #[expect(clippy::disallowed_methods, reason = "the other side of the comparison")]
    pub(super) async fn ask<M>(&self, message: M) -> Option<M::Result>
    where
        Echo: Handler<M>,
        Context<Echo>: ToEnvelope<Echo, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.addr.send(message).await.ok()
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.arbiter.stop();
    }
}
