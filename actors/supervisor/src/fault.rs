//! Failures made on purpose, to see what the users of an actor see then.

use std::time::Duration;

use actix::Message;

use crate::worker::{Context, Handler, Reply, Worker};

/// A failure made on purpose: every worker handles this message by failing so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// A handler panics.
    Panic,
    /// A handler declares that the worker cannot go on.
    Error,
    /// An answer takes longer than [`Limits::handler_timeout`](crate::Limits::handler_timeout).
    Hang,
    /// An answer never comes; its deadline is this one.
    HangFor(Duration),
    /// A handler blocks its thread for ever: nothing but the end of the process helps.
    Wedge,
}

impl Message for Fault {
    type Result = ();
}

impl<W: Worker> Handler<Fault> for W {
    fn timeout(fault: &Fault) -> Option<Duration> {
        match fault {
            Fault::HangFor(limit) => Some(*limit),
            _ => None,
        }
    }

    fn handle(&mut self, fault: &Fault, ctx: &Context<Self>) -> Reply<()> {
        match fault {
            Fault::Panic => panic!("crashed on request"),
            Fault::Error => ctx.fail("failed on request"),
            Fault::Hang | Fault::HangFor(_) => return Reply::later(std::future::pending()),
            Fault::Wedge => loop {
                std::thread::park();
            },
        }
        ().into()
    }
}
