//! Rate limit per key, such as the id of a token. Pure, but for the lock.
//!
//! It is the generic cell rate algorithm: per key one moment, until which the requests so far use
//! up its time.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How many seconds' worth of requests a quiet key may make at once.
const BURST_S: u32 = 10;

/// How many keys are watched at a time.
const MAX_KEYS: usize = 100_000;

/// Between two removals of the keys that are quiet again.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(60);

/// The request rates of all keys; clones share them.
#[derive(Clone)]
pub struct RateLimiter<K = String> {
    /// What one request costs of a key's time, in nanoseconds.
    cost: Arc<AtomicU64>,
    /// How much of its time a key may use up in advance.
    tolerance: Duration,
    state: Arc<Mutex<State<K>>>,
}

struct State<K> {
    /// Until when the requests made so far use up a key's time. In the past, or absent, all of its
    /// burst is left.
    until: HashMap<K, Instant>,
    cleaned: Option<Instant>,
}

impl<K: Eq + Hash> RateLimiter<K> {
    /// Allows each key `rate` requests a second on the average, at least one, and ten times as
    /// many at once.
    pub fn per_second(rate: u32) -> Self {
        Self::new(cost(rate), Duration::from_secs(BURST_S.into()))
    }

    /// Allows each key `rate` requests a second from now on, as [`per_second`](Self::per_second)
    /// does; what keys have used up counts on.
    pub fn set_per_second(&self, rate: u32) {
        self.cost.store(nanos(cost(rate)), Ordering::Relaxed);
    }

    /// Allows each key one request in `interval`.
    pub fn one_in(interval: Duration) -> Self {
        Self::new(interval, interval)
    }

    fn new(cost: Duration, tolerance: Duration) -> Self {
        let state = State { until: HashMap::new(), cleaned: None };
        let cost = Arc::new(AtomicU64::new(nanos(cost)));
        Self { cost, tolerance, state: Arc::new(Mutex::new(state)) }
    }

    /// Counts a request of `key` and returns whether it may be made. A refused one is not counted:
    /// the next may be made within a second.
    pub fn check<Q>(&self, key: &Q, now: Instant) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut state = self.state.lock();
        let has_room = self.end_of_next(&state, key, now) <= now + self.tolerance;
        if has_room {
            self.count(&mut state, key, now);
        }
        has_room
    }

    /// Returns whether a request of `key` might be made, and counts none: what it costs is known
    /// later.
    pub(crate) fn has_room<Q>(&self, key: &Q, now: Instant) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.end_of_next(&self.state.lock(), key, now) <= now + self.tolerance
    }

    /// Counts a request of `key` that was made.
    pub(crate) fn charge<Q>(&self, key: &Q, now: Instant)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.count(&mut self.state.lock(), key, now);
    }

    /// Until when one more request would use up a key's time.
    fn end_of_next<Q>(&self, state: &State<K>, key: &Q, now: Instant) -> Instant
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let cost = Duration::from_nanos(self.cost.load(Ordering::Relaxed));
        state.until.get(key).map_or(now, |until| now.max(*until)) + cost
    }

    fn count<Q>(&self, state: &mut State<K>, key: &Q, now: Instant)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        state.clean(now);
        let until = self.end_of_next(state, key, now);
        // More keys than are watched go unlimited: nobody pays for the number of others.
        if state.until.len() < MAX_KEYS || state.until.contains_key(key) {
            state.until.insert(key.to_owned(), until);
        }
    }
}

fn cost(rate: u32) -> Duration {
    Duration::from_secs(1) / rate.max(1)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl<K: Eq + Hash> State<K> {
    fn clean(&mut self, now: Instant) {
        let due = |cleaned: Instant| now.saturating_duration_since(cleaned) >= CLEANUP_INTERVAL;
        if self.cleaned.is_none_or(due) {
            self.cleaned = Some(now);
            self.until.retain(|_, until| *until > now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(rate: u32) -> RateLimiter {
        RateLimiter::per_second(rate)
    }

    fn admitted(limiter: &RateLimiter, token: &str, now: Instant) -> usize {
        (0..1000).take_while(|_| limiter.check(token, now)).count()
    }

    #[test]
    fn a_token_has_its_burst_and_then_its_rate() {
        let (limiter, now) = (limiter(4), Instant::now());
        assert_eq!(admitted(&limiter, "a", now), 40);
        assert_eq!(admitted(&limiter, "b", now), 40, "another token is not affected");
        let soon = now + Duration::from_secs(1);
        assert_eq!(admitted(&limiter, "a", soon), 4, "what was refused has cost nothing");
        assert_eq!(admitted(&limiter, "a", soon + Duration::from_secs(3600)), 40);
    }

    #[test]
    fn another_rate_holds_at_once_for_what_comes() {
        let (limiter, now) = (limiter(1), Instant::now());
        assert_eq!(admitted(&limiter, "a", now), 10);
        let other = limiter.clone();
        other.set_per_second(4);
        assert_eq!(admitted(&limiter, "a", now), 0, "its time is used up");
        assert_eq!(admitted(&limiter, "a", now + Duration::from_secs(1)), 4);
        assert_eq!(admitted(&limiter, "b", now), 40);
    }

    #[test]
    fn quiet_tokens_are_forgotten() {
        let (limiter, now) = (limiter(4), Instant::now());
        for n in 0..100 {
            assert!(limiter.check(n.to_string().as_str(), now));
        }
        assert!(limiter.check("late", now + CLEANUP_INTERVAL));
        assert_eq!(limiter.state.lock().until.len(), 1);
    }

    #[test]
    fn the_number_of_watched_tokens_is_bounded_and_refuses_nobody() {
        let (limiter, now) = (limiter(1), Instant::now());
        for n in 0..MAX_KEYS + 10 {
            assert!(limiter.check(n.to_string().as_str(), now));
        }
        assert_eq!(limiter.state.lock().until.len(), MAX_KEYS);
        assert_eq!(admitted(&limiter, "0", now), 9, "those that are watched still are");
    }
}
