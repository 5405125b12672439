//! When a failed actor is restarted. Pure: failures and the time come in, decisions come out.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// When an actor is restarted after a failure, and when its parent decides instead.
///
/// With the defaults, an actor that fails whenever it is rebuilt is restarted three times at once,
/// then after at most 50 ms, 100 ms and so on up to 5 s, and is escalated within half a minute.
#[derive(Clone, Copy, Debug)]
pub struct RestartPolicy {
    /// How many failures in a row are answered by an immediate restart.
    pub max_immediate: u32,
    /// The pauses before the restarts after further failures in a row.
    pub backoff: Backoff,
    /// An actor that ran this long after a restart is healthy: its next failure is the first in a
    /// row.
    pub reset_after: Duration,
    /// How many restarts there may be within [`window`](Self::window). The next failure is
    /// escalated to the parent.
    pub intensity: u32,
    /// The period over which restarts are counted.
    pub window: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            max_immediate: 3,
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(5)),
            reset_after: Duration::from_secs(10),
            intensity: 15,
            window: Duration::from_secs(60),
        }
    }
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Decision {
    /// Build fresh state after this long.
    Restart(Duration),
    /// Wait until the parent restarts this actor.
    Escalate,
}

/// The failures of one actor so far.
pub(crate) struct RestartHistory {
    policy: RestartPolicy,
    consecutive: u32,
    /// When the worker last was, or is to be, rebuilt.
    rebuilt: Option<Instant>,
    recent: SlidingWindow,
}

impl RestartHistory {
    pub(crate) fn new(policy: RestartPolicy) -> Self {
        Self { policy, consecutive: 0, rebuilt: None, recent: SlidingWindow::default() }
    }

    /// Counts a failure at `now`; `random`, between 0 and 1, is the jitter of a pause.
    pub(crate) fn failed(&mut self, now: Instant, random: f64) -> Decision {
        if !self.recent.try_record(now, self.policy.intensity, self.policy.window) {
            return Decision::Escalate;
        }
        let healthy =
            |rebuilt: Instant| now.saturating_duration_since(rebuilt) >= self.policy.reset_after;
        if self.rebuilt.is_some_and(healthy) {
            self.consecutive = 0;
        }
        self.consecutive = self.consecutive.saturating_add(1);

        let failures = self.consecutive.saturating_sub(self.policy.max_immediate);
        let pause = self.policy.backoff.pause(failures, random);
        self.rebuilt = Some(now + pause);
        Decision::Restart(pause)
    }

    /// Forgets all failures: the parent restarts the actor.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.policy);
    }
}

/// Counts events within a sliding window of time.
#[derive(Default)]
pub(crate) struct SlidingWindow(VecDeque<Instant>);

impl SlidingWindow {
    /// Counts an event at `now`, unless there were `most` within `window` already; returns whether
    /// it was counted.
    pub(crate) fn try_record(&mut self, now: Instant, most: u32, window: Duration) -> bool {
        while self.0.front().is_some_and(|then| now.saturating_duration_since(*then) >= window) {
            self.0.pop_front();
        }
        let admitted = self.0.len() < usize::try_from(most).unwrap_or(usize::MAX);
        if admitted {
            self.0.push_back(now);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(history: &mut RestartHistory, now: Instant, jitter: f64) -> Duration {
        match history.failed(now, jitter) {
            Decision::Restart(pause) => pause,
            Decision::Escalate => panic!("escalated"),
        }
    }

    #[test]
    fn the_first_restarts_are_immediate_and_then_pauses_double_up_to_the_longest() {
        let mut history = RestartHistory::new(RestartPolicy {
            max_immediate: 2,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(5)),
            ..RestartPolicy::default()
        });
        let now = Instant::now();
        let pauses: Vec<_> = (0..6).map(|_| pause(&mut history, now, 0.0).as_secs()).collect();
        assert_eq!(pauses, [0, 0, 1, 2, 4, 5]);
    }

    #[test]
    fn a_healthy_while_forgives() {
        let mut history =
            RestartHistory::new(RestartPolicy { max_immediate: 1, ..RestartPolicy::default() });
        let mut now = Instant::now();
        assert_eq!(pause(&mut history, now, 0.0), Duration::ZERO);
        assert!(pause(&mut history, now, 0.0) > Duration::ZERO);
        now += Duration::from_secs(11);
        assert_eq!(pause(&mut history, now, 0.0), Duration::ZERO);
    }

    #[test]
    fn it_is_healthy_after_its_time_and_waiting_for_a_restart_does_not_count() {
        let (first, reset_after) = (Duration::from_secs(8), Duration::from_secs(10));
        let mut history = RestartHistory::new(RestartPolicy {
            max_immediate: 0,
            backoff: Backoff::new(first, Duration::from_secs(60)),
            reset_after,
            ..RestartPolicy::default()
        });
        let start = Instant::now();
        let rebuilt = start + pause(&mut history, start, 0.0);
        let early = rebuilt + reset_after - Duration::from_nanos(1);
        assert_eq!(pause(&mut history, early, 0.0), first * 2);
        let later = early + first * 2 + reset_after;
        assert_eq!(pause(&mut history, later, 0.0), first);
    }

    #[test]
    fn jitter_shortens_by_a_half_at_most_and_never_overflows() {
        let policy =
            RestartPolicy { max_immediate: 0, intensity: u32::MAX, ..RestartPolicy::default() };
        let mut history = RestartHistory::new(policy);
        for _ in 0..100 {
            pause(&mut history, Instant::now(), 1.0);
        }
        let last = pause(&mut history, Instant::now(), 1.0);
        assert_eq!(last, policy.backoff.max / 2);
    }

    #[test]
    fn one_failure_too_many_in_a_window_is_the_parents_and_an_old_one_does_not_count() {
        let policy = RestartPolicy { intensity: 2, ..RestartPolicy::default() };
        let mut history = RestartHistory::new(policy);
        let start = Instant::now();
        assert_ne!(history.failed(start, 0.0), Decision::Escalate);
        let later = start + policy.window / 2;
        assert_ne!(history.failed(later, 0.0), Decision::Escalate);
        assert_eq!(history.failed(later, 0.0), Decision::Escalate);
        assert_ne!(history.failed(start + policy.window, 0.0), Decision::Escalate);
        history.reset();
        assert_ne!(history.failed(start + policy.window, 0.0), Decision::Escalate);
    }

    #[test]
    fn a_hopeless_actor_is_escalated_within_a_minute() {
        let mut history = RestartHistory::new(RestartPolicy::default());
        let start = Instant::now();
        let mut now = start;
        while let Decision::Restart(pause) = history.failed(now, 0.0) {
            now += pause;
            assert!(now - start < Duration::from_secs(60));
        }
        assert!(now - start > Duration::from_secs(20));
    }
}
