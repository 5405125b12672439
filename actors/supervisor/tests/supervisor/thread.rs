//! Workers that block their thread.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::Message;
use futures_util::future::join;
use stream_supervisor::{
    ActorState, AskError, Context, Fault, Handler, Limits, Reply, Strategy, Supervisor, Worker,
};

use crate::counter::{Count, counter, harmless, limits, on, policy, tireless, until};

/// Blocks its thread until the test lets it go.
struct Blocking {
    done: Arc<Mutex<u32>>,
}

impl Worker for Blocking {}

struct Block(Mutex<mpsc::Receiver<()>>);

impl Message for Block {
    type Result = ();
}

#[derive(Message)]
#[rtype(result = "u32")]
struct Done;

impl Handler<Block> for Blocking {
    fn handle(&mut self, block: &Block, _: &Context<Self>) -> Reply<()> {
        let let_go = block.0.lock().expect("not poisoned").recv();
        let_go.expect("the test lets go");
        *self.done.lock().expect("not poisoned") += 1;
        ().into()
    }
}

impl Handler<Done> for Blocking {
    fn handle(&mut self, _: &Done, _: &Context<Self>) -> Reply<u32> {
        (*self.done.lock().expect("not poisoned")).into()
    }
}

#[test]
fn a_stuck_thread_is_left_behind_and_what_it_does_late_still_happens() {
    on(async {
        let supervisor = Supervisor::default();
        let done = Arc::new(Mutex::new(0));
        let blocking = supervisor.spawn_blocking("blocking", tireless(), limits(), move || {
            Blocking { done: Arc::clone(&done) }
        });
        let (let_go, held) = mpsc::channel();
        let (blocked, queued) =
            join(blocking.ask(Block(Mutex::new(held))), blocking.ask(Done)).await;
        assert_eq!(blocked, Err(AskError::TimedOut));
        assert_eq!(queued, Ok(0), "the mailbox is kept");
        assert_eq!(supervisor.status()[0].abandoned, 1);

        let_go.send(()).expect("it is still there");
        until(&supervisor, "blocking", |actor| actor.abandoned == 0).await;
        assert_eq!(blocking.ask(Done).await, Ok(1));
        assert_eq!(supervisor.status()[0].restarts, 1);
    });
}

#[test]
fn too_many_stuck_threads_are_the_parents_affair() {
    on(async {
        let supervisor = Supervisor::with_watchdog(policy(Strategy::OneForOne, 0), harmless());
        let limits = Limits { handler_timeout: Duration::from_millis(5), ..limits() };
        let _counter = supervisor.spawn_blocking("counter", tireless(), limits, counter);
        supervisor.inject("counter", Fault::Hang, 9);
        supervisor.fatal().await;
        let status = &supervisor.status()[0];
        assert_eq!((status.abandoned, status.state), (9, ActorState::Escalated));
    });
}

#[test]
fn a_factory_that_blocks_is_left_behind() {
    on(async {
        let supervisor = Supervisor::default();
        let first = Mutex::new(true);
        let factory = move || {
            let first = std::mem::take(&mut *first.lock().expect("not poisoned"));
            if first {
                std::thread::park();
            }
            counter()
        };
        let limits = Limits { start_timeout: Duration::from_millis(20), ..limits() };
        let counter = supervisor.spawn_blocking("counter", tireless(), limits, factory);
        assert_eq!(counter.ask(Count).await, Ok(1));
        assert_eq!(supervisor.status()[0].failures.deadlines, 1);
    });
}
