//! How much one writer may hand in. Pure: time comes in.

use std::time::{Duration, Instant};

use crate::{SIGNAL_BYTES_A_MINUTE as BYTES, SIGNALS_A_MINUTE as SIGNALS};

/// What is left of the present minute of one writer: 1,000 signals and 2 MiB, so that nobody can
/// push the history of others out of the log.
pub struct SignalQuota {
    since: Instant,
    signals: usize,
    bytes: usize,
}

impl SignalQuota {
    /// For how long what was taken is missing.
    pub const WINDOW: Duration = Duration::from_secs(60);

    pub fn new(now: Instant) -> Self {
        Self { since: now, signals: SIGNALS, bytes: BYTES }
    }

    /// Takes `signals` of `bytes` bytes in all off; returns whether they were still allowed. What is
    /// refused is not counted.
    pub fn take(&mut self, signals: usize, bytes: usize, now: Instant) -> bool {
        if self.is_over(now) {
            *self = Self::new(now);
        }
        if self.signals < signals || self.bytes < bytes {
            return false;
        }
        self.signals -= signals;
        self.bytes -= bytes;
        true
    }

    /// Whether its minute has passed, so that a new one is as good.
    pub fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= Self::WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = SignalQuota::WINDOW;

    #[test]
    fn signals_and_bytes_are_both_counted_and_come_back_after_a_minute() {
        let start = Instant::now();
        let mut quota = SignalQuota::new(start);
        assert!((0..SIGNALS).all(|_| quota.take(1, 1, start)));
        assert!(!quota.take(1, 1, start + WINDOW - Duration::from_millis(1)));
        assert!(quota.take(1, BYTES, start + WINDOW));
        assert!(!quota.take(1, 1, start + WINDOW));
    }
}
