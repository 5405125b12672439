//! Actors of one thread under a clock that nobody but the test moves: nothing waits, and what they
//! do is always the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use actix::Message;
use stream_supervisor::{
    ActorState, AskError, Backoff, Context, Handler, Limits, Mode, Reply, RestartPolicy,
    Supervisor, Worker,
};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::counter::{Count, Fail, counter, until};

const HOUR: Duration = Duration::from_secs(3600);

fn run<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test)
}

/// Answers after an hour.
#[derive(Default)]
struct Sleeper;

#[derive(Message)]
#[rtype(result = "std::thread::ThreadId")]
struct Sleep;

impl Worker for Sleeper {}

impl Handler<Sleep> for Sleeper {
    fn timeout(_: &Sleep) -> Option<Duration> {
        Some(HOUR * 2)
    }

    fn handle(&mut self, _: &Sleep, _: &Context<Self>) -> Reply<std::thread::ThreadId> {
        Reply::later(async {
            sleep(HOUR).await;
            std::thread::current().id()
        })
    }
}

#[test]
fn an_actor_runs_on_the_thread_that_starts_it_and_hours_pass_at_once() {
    run(async {
        let (begun, supervisor) = (Instant::now(), Supervisor::on_this_thread());
        let (policy, limits) = (RestartPolicy::default(), Limits::default());
        let limits = Limits { ask_timeout: HOUR * 2, ..limits };
        let sleeper =
            supervisor.spawn("sleeper", Mode::KeepInFlight, policy, limits, Sleeper::default);
        assert_eq!(sleeper.ask(Sleep).await, Ok(std::thread::current().id()));
        assert_eq!(begun.elapsed(), HOUR);
    });
}

#[test]
fn an_actor_that_fails_is_restarted_there_and_one_that_is_stopped_is_gone() {
    run(async {
        let supervisor = Supervisor::on_this_thread();
        let (policy, limits) = (RestartPolicy::default(), Limits::default());
        let mode = Mode::CancelOnRestart;
        let mailbox = supervisor.spawn("counter", mode, policy, limits, counter);
        assert_eq!(mailbox.ask(Count).await, Ok(1));
        assert_eq!(mailbox.ask(Fail::Panic).await, Err(AskError::Crashed));
        assert_eq!(mailbox.ask(Count).await, Ok(1), "by fresh state");
        assert_eq!(supervisor.status()[0].restarts, 1);
        supervisor.shut_down(HOUR).await;
        assert_eq!(mailbox.ask(Count).await, Err(AskError::Stopped));
    });
}

#[test]
fn actors_end_with_the_set_of_tasks_that_they_run_in() {
    run(async {
        let set = LocalSet::new();
        let mailbox = set
            .run_until(async {
                let (policy, limits) = (RestartPolicy::default(), Limits::default());
                let mode = Mode::KeepInFlight;
                Supervisor::on_this_thread().spawn("counter", mode, policy, limits, counter)
            })
            .await;
        assert_eq!(set.run_until(mailbox.ask(Count)).await, Ok(1));
        drop(set);
        assert_eq!(mailbox.ask(Count).await, Err(AskError::Stopped), "as if its process had");
    });
}

#[test]
fn an_actor_that_waits_for_its_restart_when_its_tasks_end_is_not_built_again() {
    run(async {
        let (set, built) = (LocalSet::new(), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&built);
        let factory = move || {
            seen.fetch_add(1, SeqCst);
            counter()
        };
        let supervisor = set
            .run_until(async {
                let (backoff, supervisor) =
                    (Backoff::new(HOUR, HOUR), Supervisor::on_this_thread());
                let policy =
                    RestartPolicy { max_immediate: 0, backoff, ..RestartPolicy::default() };
                let (mode, limits) = (Mode::KeepInFlight, Limits::default());
                let mailbox = supervisor.spawn("counter", mode, policy, limits, factory);
                assert_eq!(mailbox.ask(Fail::Panic).await, Err(AskError::Crashed));
                until(&supervisor, "counter", |actor| actor.state == ActorState::Backoff).await;
                supervisor
            })
            .await;
        drop(set);
        assert_eq!(supervisor.status()[0].state, ActorState::Stopped);
        assert_eq!(built.load(SeqCst), 1);
    });
}
