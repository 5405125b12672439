//! When a failed actor is rebuilt. Pure: time comes in, pauses come out.

use std::time::{Duration, Instant};

/// The restart policy of one actor.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    /// How many failures in a row are answered by a restart at once.
    pub immediate: u32,
    /// The pause after the first failure beyond those; doubles with each further one.
    pub first_pause: Duration,
    /// The pauses grow no longer than this.
    pub longest_pause: Duration,
    /// An actor that ran this long after a restart is healthy: its failures count from one again.
    pub healthy_after: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            immediate: 3,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(30),
            healthy_after: Duration::from_secs(10),
        }
    }
}

/// The failures of one actor so far.
pub(crate) struct History {
    policy: Restart,
    in_a_row: u32,
    /// When the worker last was, or is to be, rebuilt.
    rebuilt: Option<Instant>,
}

impl History {
    pub(crate) fn new(policy: Restart) -> Self {
        Self { policy, in_a_row: 0, rebuilt: None }
    }

    /// Counts a failure at `now` and returns how long to wait before the rebuild. `jitter`, between
    /// 0 and 1, takes up to a fifth off, so that neighbours that failed together return apart.
    pub(crate) fn pause(&mut self, now: Instant, jitter: f64) -> Duration {
        let healthy =
            |rebuilt: Instant| now.saturating_duration_since(rebuilt) >= self.policy.healthy_after;
        if self.rebuilt.is_some_and(healthy) {
            self.in_a_row = 0;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);

        let pause = match self.in_a_row.saturating_sub(self.policy.immediate) {
            0 => Duration::ZERO,
            doublings => {
                let factor = 2u32.saturating_pow(doublings - 1);
                let longest = self.policy.longest_pause;
                self.policy.first_pause.saturating_mul(factor).min(longest)
            }
        };
        let pause = pause.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 5.0);
        self.rebuilt = Some(now + pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restarts_are_immediate_and_then_pauses_double_up_to_the_longest() {
        let mut history = History::new(Restart {
            immediate: 2,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(5),
            healthy_after: Duration::from_secs(60),
        });
        let now = Instant::now();
        let pauses: Vec<_> = (0..6).map(|_| history.pause(now, 0.0).as_secs()).collect();
        assert_eq!(pauses, [0, 0, 1, 2, 4, 5]);
    }

    #[test]
    fn a_healthy_while_forgives() {
        let mut history = History::new(Restart { immediate: 1, ..Restart::default() });
        let mut now = Instant::now();
        assert_eq!(history.pause(now, 0.0), Duration::ZERO);
        assert!(history.pause(now, 0.0) > Duration::ZERO);
        now += Duration::from_secs(11);
        assert_eq!(history.pause(now, 0.0), Duration::ZERO);
    }

    #[test]
    fn jitter_shortens_by_a_fifth_at_most_and_never_overflows() {
        let policy = Restart { immediate: 0, ..Restart::default() };
        let mut history = History::new(policy);
        for _ in 0..100 {
            history.pause(Instant::now(), 1.0);
        }
        let pause = history.pause(Instant::now(), 1.0);
        assert_eq!(pause, policy.longest_pause.mul_f64(0.8));
    }
}
