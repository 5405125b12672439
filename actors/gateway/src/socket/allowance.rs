//! How much one socket may write. Pure: time comes in.

use std::time::{Duration, Instant};

use stream_protocol::{SIGNAL_BYTES_A_MINUTE as BYTES, SIGNALS_A_MINUTE as SIGNALS};

const WINDOW: Duration = Duration::from_secs(60);

/// What is left of the present minute: 1,000 signals and 2 MiB, so that one client cannot push the
/// history of others out of the log.
pub(crate) struct Allowance {
    since: Instant,
    signals: usize,
    bytes: usize,
}

impl Allowance {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, signals: SIGNALS, bytes: BYTES }
    }

    /// Takes a signal of `bytes` bytes off; returns whether it was still allowed.
    pub(crate) fn take(&mut self, bytes: usize, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= WINDOW {
            *self = Self::new(now);
        }
        if self.signals == 0 || self.bytes < bytes {
            return false;
        }
        self.signals -= 1;
        self.bytes -= bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_and_bytes_are_both_counted_and_come_back_after_a_minute() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        assert!((0..SIGNALS).all(|_| allowance.take(1, start)));
        assert!(!allowance.take(1, start + WINDOW - Duration::from_millis(1)));
        assert!(allowance.take(BYTES, start + WINDOW));
        assert!(!allowance.take(1, start + WINDOW));
    }
}
