//! The limit of writes: nobody pushes the signals of others out of the log.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use stream_protocol::{SessionId, SignalQuota};

/// What each writer, a session unless said otherwise, may still write within its present minute,
/// however many sockets and requests do it. Clones share the counts.
///
/// A unit has one for the writers of the direction it serves.
#[derive(Clone)]
pub struct WriteLimiter<K: Eq + Hash = SessionId>(Arc<Mutex<Windows<K>>>);

struct Windows<K> {
    quotas: HashMap<K, SignalQuota>,
    cleaned: Option<Instant>,
}

impl<K: Eq + Hash> Default for WriteLimiter<K> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Windows { quotas: HashMap::new(), cleaned: None })))
    }
}

impl<K: Clone + Eq + Hash> WriteLimiter<K> {
    /// Counts a write and returns whether `writer` may make it. A refused write is not counted.
    pub fn try_acquire(&self, writer: &K, signals: usize, bytes: usize, now: Instant) -> bool {
        let mut windows = self.0.lock();
        windows.clean(now);
        let quota = windows.quotas.entry(writer.clone());
        quota.or_insert_with(|| SignalQuota::new(now)).take(signals, bytes, now)
    }
}

impl<K: Eq + Hash> Windows<K> {
    /// Forgets the writers that have been quiet, once a minute.
    fn clean(&mut self, now: Instant) {
        let due = |cleaned: Instant| now.saturating_duration_since(cleaned) >= SignalQuota::WINDOW;
        if self.cleaned.is_none_or(due) {
            self.cleaned = Some(now);
            self.quotas.retain(|_, quota| !quota.is_over(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WINDOW: Duration = SignalQuota::WINDOW;
    const SIGNALS: usize = SignalQuota::SIGNALS;
    const BYTES: usize = SignalQuota::BYTES;

    #[test]
    fn a_session_is_limited_by_count_and_by_bytes_and_admitted_again_later() {
        let (writes, session, now) = (WriteLimiter::default(), SessionId::random(), Instant::now());
        assert!(writes.try_acquire(&session, SIGNALS, 0, now));
        assert!(!writes.try_acquire(&session, 1, 0, now));
        assert!(
            writes.try_acquire(&SessionId::random(), 1, BYTES, now),
            "another one is not affected"
        );
        assert!(writes.try_acquire(&session, 1, BYTES, now + WINDOW));
        assert!(!writes.try_acquire(&session, 1, 1, now + WINDOW));
    }

    #[test]
    fn quiet_sessions_are_forgotten() {
        let (writes, now) = (WriteLimiter::default(), Instant::now());
        for _ in 0..100 {
            assert!(writes.try_acquire(&SessionId::random(), 1, 1, now));
        }
        assert!(writes.try_acquire(&SessionId::random(), 1, 1, now + WINDOW));
        assert_eq!(writes.0.lock().quotas.len(), 1);
    }
}
