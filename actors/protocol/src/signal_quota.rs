//! How much one writer of signals may hand in. Pure: time comes in.

use std::time::{Duration, Instant};

/// What is left of the present minute of one writer: [`SIGNALS`](Self::SIGNALS) and
/// [`BYTES`](Self::BYTES), so that nobody pushes the signals of others out of the log.
///
/// The agent and the gateway each hold their own writers to it. Windows are fixed, so that twice
/// as much may pass around the end of one.
pub struct SignalQuota {
    since: Instant,
    signals: usize,
    bytes: usize,
}

impl SignalQuota {
    /// Signals that one writer may hand in within [`WINDOW`](Self::WINDOW).
    pub const SIGNALS: usize = 1_000;

    /// Bytes of signals that one writer may hand in within [`WINDOW`](Self::WINDOW).
    pub const BYTES: usize = 2 * 1024 * 1024;

    /// Time after which a new quota begins.
    pub const WINDOW: Duration = Duration::from_secs(60);

    /// Returns the limits in words, for refusals and documents: `1,000 signals and 2 MiB a minute`.
    pub fn limits() -> String {
        let (thousands, rest, mib) =
            (Self::SIGNALS / 1_000, Self::SIGNALS % 1_000, Self::BYTES / (1024 * 1024));
        format!("{thousands},{rest:03} signals and {mib} MiB a minute")
    }

    /// Begins a window at `now`.
    pub fn new(now: Instant) -> Self {
        Self { since: now, signals: Self::SIGNALS, bytes: Self::BYTES }
    }

    /// Takes `signals` of `bytes` bytes in all off and returns whether they were still allowed. A
    /// refused call takes nothing.
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

    /// Returns whether the window has passed, so that a new quota is as good.
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
        assert!((0..SignalQuota::SIGNALS).all(|_| quota.take(1, 1, start)));
        assert!(!quota.take(1, 1, start + WINDOW - Duration::from_millis(1)));
        assert!(quota.take(1, SignalQuota::BYTES, start + WINDOW));
        assert!(!quota.take(1, 1, start + WINDOW));
    }

    #[test]
    fn the_limits_are_told_in_words() {
        assert_eq!(SignalQuota::limits(), "1,000 signals and 2 MiB a minute");
    }
}
