use std::time::Duration;

use actix::Message;

use crate::worker::{Context, Handler, Reply, Worker};

/// A failure made on purpose, to see what the users of an actor see then.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// A handler panics.
    Panic,
    /// A handler declares that the worker cannot go on.
    Error,
    /// An answer never comes; on a thread of its own, the handler blocks it for a minute.
    Hang,
    /// The same, with this deadline instead of
    /// [`Limits::handler_timeout`](crate::Limits::handler_timeout).
    HangFor(Duration),
    /// A handler blocks its thread and never returns: nothing but the end of the process helps an
    /// actor that has none of its own.
    Wedge,
}

impl Message for Fault {
    type Result = ();
}

/// How long an injected hang blocks a thread: longer than any test waits, and not for ever.
const BLOCKED: Duration = Duration::from_secs(60);

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
            Fault::Hang if ctx.may_block() => std::thread::sleep(BLOCKED),
            Fault::HangFor(limit) if ctx.may_block() => std::thread::sleep(2 * *limit),
            Fault::Hang | Fault::HangFor(_) => return Reply::later(std::future::pending()),
            Fault::Wedge => loop {
                std::thread::park();
            },
        }
        ().into()
    }
}
