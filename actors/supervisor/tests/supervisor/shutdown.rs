//! Stopping in order and in time.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::Message;
use futures_util::future::join3;
use stream_supervisor::{
    ActorState, AskError, Context, Handler, Limits, LocalBoxFuture, Mailbox, Mode, Reply,
    Supervisor, Worker,
};
use tokio::sync::{Notify, oneshot};

use crate::counter::{Count, MODES, Wait, counter, limits, on, tireless};

/// Notes its end, if it comes to it.
struct Last {
    name: &'static str,
    log: Arc<Mutex<Vec<&'static str>>>,
    stops: bool,
}

impl Worker for Last {
    fn stopping(&mut self, _: &Context<Self>) -> Option<LocalBoxFuture<'static, ()>> {
        let (name, log, stops) = (self.name, Arc::clone(&self.log), self.stops);
        Some(Box::pin(async move {
            if !stops {
                std::future::pending::<()>().await;
            }
            log.lock().expect("not poisoned").push(name);
        }))
    }
}

/// Has the worker note this.
#[derive(Message)]
#[rtype(result = "()")]
struct Note(&'static str);

impl Handler<Note> for Last {
    fn handle(&mut self, note: &Note, _: &Context<Self>) -> Reply<()> {
        self.log.lock().expect("not poisoned").push(note.0);
        ().into()
    }
}

struct Row {
    supervisor: Supervisor,
    log: Arc<Mutex<Vec<&'static str>>>,
}

impl Row {
    fn new() -> Self {
        Self { supervisor: Supervisor::default(), log: Arc::default() }
    }

    fn add(&self, mode: Mode, name: &'static str, stops: bool) -> Mailbox<Last> {
        let log = Arc::clone(&self.log);
        let factory = move || Last { name, log: Arc::clone(&log), stops };
        self.supervisor.spawn(name, mode, tireless(), limits(), factory)
    }

    fn log(&self) -> Vec<&'static str> {
        self.log.lock().expect("not poisoned").clone()
    }
}

const PLENTY: Duration = Duration::from_secs(20);

#[test]
fn the_last_one_started_stops_first_and_after_what_was_queued() {
    for mode in MODES {
        on(async {
            let row = Row::new();
            let first = row.add(mode, "first", true);
            let _second = row.add(mode, "second", true);
            let third = row.add(mode, "third", true);
            third.tell(Note("queued at third")).expect("room");
            first.tell(Note("queued at first")).expect("room");
            first.ask(Note("done")).await.expect("running");
            row.supervisor.shut_down(PLENTY).await;

            let log = row.log();
            let log: Vec<_> = log.into_iter().filter(|line| !line.ends_with("first")).collect();
            assert_eq!(log[log.len() - 2..], ["third", "second"]);
            assert!(log.contains(&"queued at third"));
            assert_eq!(row.log().last(), Some(&"first"));
            assert_eq!(third.ask(Note("too late")).await, Err(AskError::Stopped));
            let stopped = |state| state == ActorState::Stopped;
            assert!(row.supervisor.status().iter().all(|actor| stopped(actor.state)));
        });
    }
}

#[test]
fn one_that_does_not_stop_is_cut_short_and_the_others_still_stop() {
    for mode in MODES {
        on(async {
            let row = Row::new();
            row.add(mode, "first", true);
            row.add(mode, "second", false);
            row.add(mode, "third", true);
            let asked = Instant::now();
            row.supervisor.shut_down(Duration::from_millis(400)).await;
            assert!(asked.elapsed() < Duration::from_secs(5));
            assert_eq!(row.log(), ["third", "first"]);
        });
    }
}

#[test]
fn answers_in_progress_are_finished() {
    for mode in MODES {
        on(async {
            let supervisor = Supervisor::default();
            let limits = Limits { handler_timeout: PLENTY, ..limits() };
            let counter = supervisor.spawn("counter", mode, tireless(), limits, counter);
            let permission = Arc::new(Notify::new());
            let waiting = counter.ask(Wait(Arc::clone(&permission)));
            let refused = async {
                // The mailbox is closed at once, though the actor still has work.
                while counter.tell(Count) != Err(AskError::Stopped) {
                    tokio::task::yield_now().await;
                }
                permission.notify_one();
            };
            let (waited, (), ()) = join3(waiting, supervisor.shut_down(PLENTY), refused).await;
            assert_eq!(waited, Ok("done"));
        });
    }
}

/// Has work in the background that goes on when the worker stops.
struct Busy {
    stops: Arc<Notify>,
    /// Takes what the work says; it is told of the end of the work in any case.
    said: Mutex<Option<oneshot::Sender<&'static str>>>,
}

impl Worker for Busy {
    fn started(&mut self, ctx: &Context<Self>) {
        let said = self.said.lock().expect("not poisoned").take().expect("it starts once");
        let stops = Arc::clone(&self.stops);
        ctx.spawn(async move {
            stops.notified().await;
            let _ = said.send("it goes on");
        });
    }

    fn stopping(&mut self, _: &Context<Self>) -> Option<LocalBoxFuture<'static, ()>> {
        let stops = Arc::clone(&self.stops);
        Some(Box::pin(async move { stops.notify_one() }))
    }
}

#[test]
fn what_goes_on_beside_an_actor_ends_with_it() {
    for mode in MODES {
        on(async move {
            let supervisor = Supervisor::default();
            let (says, said) = oneshot::channel();
            let says = Mutex::new(Some(says));
            let factory = move || Busy {
                stops: Arc::default(),
                said: Mutex::new(says.lock().expect("not poisoned").take()),
            };
            supervisor.spawn("busy", mode, tireless(), limits(), factory);
            supervisor.shut_down(PLENTY).await;
            assert!(said.await.is_err(), "it went on when its actor had stopped");
        });
    }
}
