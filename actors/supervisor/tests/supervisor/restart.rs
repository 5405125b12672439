//! What a restart keeps and loses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures_util::future::{join, join_all};
use stream_supervisor::{ActorState, AskError, Backoff, Mode, RestartPolicy, Supervisor};
use tokio::sync::Notify;

use crate::counter::{
    Count, Fail, Fixture, MODES, Wait, counter, each_mode, limits, on, tireless, until,
};

#[test]
fn a_panic_costs_the_state_and_the_message_in_hand_and_nothing_else() {
    each_mode(async |Fixture { supervisor, counter, built, .. }| {
        assert_eq!(counter.ask(Count).await, Ok(1));
        assert_eq!(counter.ask(Count).await, Ok(2));
        assert_eq!(counter.ask(Fail::Panic).await, Err(AskError::Crashed));
        assert_eq!(counter.ask(Count).await, Ok(1), "the state is fresh");
        assert_eq!(built.load(SeqCst), 2);

        let status = &supervisor.status()[0];
        assert_eq!((status.state, status.restarts), (ActorState::Running, 1));
        assert_eq!((status.failures.panics, status.failures.deadlines), (1, 0));
        let cause = &status.last_failure.as_ref().expect("it failed").cause;
        assert!(cause.starts_with("panic: on purpose (") && cause.contains("counter.rs:"));
    });
}

#[test]
fn what_is_queued_behind_a_panic_is_answered() {
    each_mode(async |Fixture { counter, .. }| {
        let panic = counter.ask(Fail::Panic);
        let queued = join_all((0..50).map(|_| counter.ask(Count)));
        let (panic, queued) = join(panic, queued).await;
        assert_eq!(panic, Err(AskError::Crashed));
        let expected: Vec<_> = (1..=50).map(Ok).collect();
        assert_eq!(queued, expected);
    });
}

#[test]
fn hundreds_of_panics_under_load_lose_nothing_that_is_queued() {
    each_mode(async |Fixture { counter, supervisor, .. }| {
        for _ in 0..300 {
            let before = join_all((0..5).map(|_| counter.ask(Count)));
            let after = join_all((0..5).map(|_| counter.ask(Count)));
            let (before, (panic, after)) =
                join(before, join(counter.ask(Fail::Panic), after)).await;
            assert!(before.iter().all(Result::is_ok));
            assert_eq!(panic, Err(AskError::Crashed));
            assert_eq!(after, [Ok(1), Ok(2), Ok(3), Ok(4), Ok(5)]);
        }
        let status = &supervisor.status()[0];
        assert_eq!((status.restarts, status.depth, status.refused), (300, 0, 0));
    });
}

#[test]
fn answers_in_progress_outlive_a_panic_of_a_host_and_are_cancelled_by_a_guard() {
    let expected =
        [(Mode::KeepInFlight, Ok("done")), (Mode::CancelOnRestart, Err(AskError::Crashed))];
    for (mode, expected) in expected {
        on(async {
            let Fixture { counter, supervisor: _supervisor, .. } = Fixture::new(mode, tireless());
            let permission = Arc::new(Notify::new());
            let waiting = counter.ask(Wait(Arc::clone(&permission)));
            let disturb = async {
                assert_eq!(counter.ask(Fail::Panic).await, Err(AskError::Crashed));
                assert_eq!(counter.ask(Count).await, Ok(1));
                permission.notify_one();
            };
            let (waited, ()) = join(waiting, disturb).await;
            assert_eq!(waited, expected);
        });
    }
}

#[test]
fn a_full_mailbox_refuses_at_once_and_serves_again_when_there_is_room() {
    each_mode(async |Fixture { counter, supervisor, .. }| {
        let permission = Arc::new(Notify::new());
        let mut waiting = Vec::new();
        for _ in 0..64 {
            waiting.push(Box::pin(counter.ask(Wait(Arc::clone(&permission)))));
        }
        // A future does nothing before it is polled: let each take its permit.
        for ask in &mut waiting {
            assert!(futures_util::poll!(ask).is_pending());
        }
        assert_eq!(counter.ask(Count).await, Err(AskError::Busy));
        assert_eq!(counter.clone().tell(Count), Err(AskError::Busy), "also on a fresh clone");
        let status = &supervisor.status()[0];
        assert_eq!((status.depth, status.high_water, status.refused), (64, 64, 2));

        drop(waiting);
        while supervisor.status()[0].depth > 0 {
            permission.notify_waiters();
            tokio::task::yield_now().await;
        }
        assert_eq!(counter.ask(Count).await, Ok(1));
    });
}

#[test]
fn a_paused_actor_keeps_its_queue() {
    for mode in MODES {
        on(async {
            let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
            let restart = RestartPolicy { max_immediate: 0, backoff, ..RestartPolicy::default() };
            let Fixture { counter, built, supervisor, .. } = Fixture::new(mode, restart);
            assert_eq!(counter.ask(Fail::Panic).await, Err(AskError::Crashed));
            let (answer, ()) = join(
                counter.ask(Count),
                until(&supervisor, "counter", |actor| actor.state == ActorState::Backoff),
            )
            .await;
            assert_eq!(answer, Ok(1), "answered after the pause");
            assert_eq!(built.load(SeqCst), 2);
        });
    }
}

#[test]
fn a_factory_that_panics_is_tried_again() {
    for mode in MODES {
        on(async {
            let tries = Arc::new(AtomicUsize::new(0));
            let seen = Arc::clone(&tries);
            let factory = move || {
                if seen.fetch_add(1, SeqCst) == 1 {
                    panic!("no luck");
                }
                counter()
            };
            let supervisor = Supervisor::default();
            let counter = supervisor.spawn("counter", mode, tireless(), limits(), factory);
            assert_eq!(counter.ask(Fail::Panic).await, Err(AskError::Crashed));
            assert_eq!(counter.ask(Count).await, Ok(1));
            assert_eq!(tries.load(SeqCst), 3);
        });
    }
}

#[test]
fn a_stopped_actor_says_so() {
    each_mode(async |Fixture { counter, supervisor, .. }| {
        counter.ask(Count).await.expect("running");
        supervisor.stop();
        assert_eq!(counter.ask(Count).await, Err(AskError::Stopped));
        assert_eq!(counter.tell(Count), Err(AskError::Stopped));
        assert_eq!(supervisor.status()[0].state, ActorState::Stopped);
    });
}
