//! Each kind of failure, made by the worker itself and injected from outside.

use stream_supervisor::{AskError, Failures, Fault};

use crate::counter::{Count, Fail, Fixture, each_mode, until};

const PANIC: Failures = Failures { panics: 1, deadlines: 0, errors: 0 };
const DEADLINE: Failures = Failures { panics: 0, deadlines: 1, errors: 0 };
const ERROR: Failures = Failures { panics: 0, deadlines: 0, errors: 1 };

/// Has the counter fail so, and looks at what its asker gets and what is counted.
fn costs_the_state(fail: Fail, answer: Result<(), AskError>, counted: Failures) {
    each_mode(async |Fixture { counter, supervisor, .. }| {
        assert_eq!(counter.ask(Count).await, Ok(1));
        assert_eq!(counter.ask(fail).await, answer);
        until(&supervisor, "counter", |actor| actor.restarts == 1).await;
        assert_eq!(counter.ask(Count).await, Ok(1), "the state is fresh after {fail:?}");
        assert_eq!(supervisor.status()[0].failures, counted);
    });
}

#[test]
fn a_panic_after_an_await_restarts() {
    costs_the_state(Fail::PanicLater, Err(AskError::Crashed), PANIC);
}

#[test]
fn a_panic_in_the_background_restarts_and_fails_no_message() {
    costs_the_state(Fail::PanicInBackground, Ok(()), PANIC);
}

#[test]
fn a_panic_on_a_timer_restarts_and_fails_no_message() {
    costs_the_state(Fail::PanicOnTimer, Ok(()), PANIC);
}

#[test]
fn an_error_declared_fatal_is_answered_and_restarts() {
    costs_the_state(Fail::Error, Ok(()), ERROR);
}

#[test]
fn an_answer_past_its_deadline_is_cancelled_and_the_state_rebuilt() {
    costs_the_state(Fail::Hang, Err(AskError::TimedOut), DEADLINE);
}

#[test]
fn injected_faults_are_failures_like_any_other() {
    let faults = [(Fault::Panic, PANIC), (Fault::Error, ERROR), (Fault::Hang, DEADLINE)];
    for (fault, counted) in faults {
        each_mode(async |Fixture { counter, supervisor, .. }| {
            assert!(supervisor.inject("counter", fault, 1));
            assert!(!supervisor.inject("nobody", fault, 1));
            until(&supervisor, "counter", |actor| actor.restarts == 1).await;
            assert_eq!(counter.ask(Count).await, Ok(1));
            assert_eq!(supervisor.status()[0].failures, counted);
        });
    }
}

#[test]
fn as_many_faults_are_injected_as_asked_for() {
    each_mode(async |Fixture { counter, supervisor, .. }| {
        assert!(supervisor.inject("counter", Fault::Panic, 20));
        assert_eq!(counter.ask(Count).await, Ok(1));
        assert_eq!(supervisor.status()[0].failures.panics, 20);
        assert!(supervisor.crash("counter"));
        until(&supervisor, "counter", |actor| actor.restarts == 21).await;
    });
}
