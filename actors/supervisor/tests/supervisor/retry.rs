//! The message in hand is tried once more if it is idempotent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use actix::Message;
use futures_util::future::join_all;
use stream_supervisor::{AskError, Context, Handler, Mailbox, Mode, Reply, Supervisor, Worker};

use crate::counter::{Fail, MODES, limits, on, tireless};

struct Clumsy;

impl Worker for Clumsy {}

/// Fails the first so many times, then answers how often it was tried.
struct Try {
    fail: Fail,
    times: u32,
    tried: Arc<AtomicU32>,
}

/// A [`Try`] that must not be done twice.
struct Once(Try);

impl Message for Try {
    type Result = u32;
}

impl Message for Once {
    type Result = u32;
}

impl Handler<Try> for Clumsy {
    const IDEMPOTENT: bool = true;

    fn handle(&mut self, ask: &Try, ctx: &Context<Self>) -> Reply<u32> {
        let tried = ask.tried.fetch_add(1, SeqCst) + 1;
        if tried > ask.times {
            return tried.into();
        }
        match ask.fail {
            Fail::Panic => panic!("on purpose"),
            Fail::PanicLater => Reply::later(async { panic!("on purpose") }),
            Fail::Error => {
                ctx.fail("on purpose");
                0.into()
            }
            _ => Reply::later(std::future::pending()),
        }
    }
}

impl Handler<Once> for Clumsy {
    fn handle(&mut self, Once(ask): &Once, ctx: &Context<Self>) -> Reply<u32> {
        self.handle(ask, ctx)
    }
}

const FAILS: [(Fail, AskError); 3] = [
    (Fail::Panic, AskError::Crashed),
    (Fail::PanicLater, AskError::Crashed),
    (Fail::Hang, AskError::TimedOut),
];

fn start(mode: Mode) -> (Supervisor, Mailbox<Clumsy>) {
    let supervisor = Supervisor::default();
    let clumsy = supervisor.spawn("clumsy", mode, tireless(), limits(), || Clumsy);
    (supervisor, clumsy)
}

fn fails(fail: Fail, times: u32) -> (Try, Arc<AtomicU32>) {
    let tried = Arc::new(AtomicU32::new(0));
    (Try { fail, times, tried: Arc::clone(&tried) }, tried)
}

#[test]
fn an_asker_does_not_notice_one_failure() {
    for mode in MODES {
        on(async {
            let (supervisor, clumsy) = start(mode);
            for (fail, _) in FAILS.into_iter().chain([(Fail::Error, AskError::Crashed)]) {
                assert_eq!(clumsy.ask(fails(fail, 1).0).await, Ok(2), "{mode:?} {fail:?}");
            }
            assert_eq!(supervisor.status()[0].restarts, 4);
            assert_eq!(supervisor.status()[0].depth, 0);
        });
    }
}

#[test]
fn a_message_is_tried_twice_at_most() {
    for mode in MODES {
        on(async {
            let (_supervisor, clumsy) = start(mode);
            for (fail, error) in FAILS {
                let (ask, tried) = fails(fail, u32::MAX);
                assert_eq!(clumsy.ask(ask).await, Err(error), "{mode:?} {fail:?}");
                assert_eq!(tried.load(SeqCst), 2);
            }
        });
    }
}

#[test]
fn a_message_that_is_not_idempotent_is_tried_once() {
    for mode in MODES {
        on(async {
            let (_supervisor, clumsy) = start(mode);
            for (fail, error) in FAILS {
                let (ask, tried) = fails(fail, u32::MAX);
                assert_eq!(clumsy.ask(Once(ask)).await, Err(error), "{mode:?} {fail:?}");
                assert_eq!(tried.load(SeqCst), 1);
            }
        });
    }
}

#[test]
fn every_third_message_may_fail_once_and_all_are_answered() {
    for mode in MODES {
        on(async {
            let (_supervisor, clumsy) = start(mode);
            for _ in 0..20 {
                let asks = (0..60).map(|n| clumsy.ask(fails(Fail::Panic, u32::from(n % 3 == 0)).0));
                let expected: Vec<_> = (0..60).map(|n| Ok(1 + u32::from(n % 3 == 0))).collect();
                assert_eq!(join_all(asks).await, expected);
            }
        });
    }
}
