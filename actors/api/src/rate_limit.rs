//! Rate limit per token. Pure, but for the lock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many seconds' worth of requests a token that was quiet may make at once.
const BURST_S: u32 = 10;

/// How many tokens are watched at a time. Only valid ones are.
const MAX_TOKENS: usize = 100_000;

/// Between two removals of the tokens that are quiet again.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(60);

/// The request rates of all tokens; clones share them.
#[derive(Clone)]
pub(crate) struct RateLimiter {
    /// What one request costs of a token's time.
    cost: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// By token id: until when the requests made so far use up its time. In the past, or absent,
    /// all of its burst is left.
    until: HashMap<String, Instant>,
    cleaned: Option<Instant>,
}

impl RateLimiter {
    /// Allows each token `rate` requests a second on the average, and [`BURST_S`] times as many at
    /// once.
    pub(crate) fn new(rate: u32) -> Self {
        Self { cost: Duration::from_secs(1) / rate.max(1), state: Arc::default() }
    }

    /// Counts a request with the token of this id and returns whether it may be made. A refused one
    /// is not counted: as the rate is at least one, the next may be made within a second.
    pub(crate) fn check(&self, token: &str, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clean(now);
        let begun = state.until.get(token).map_or(now, |until| now.max(*until));
        let until = begun + self.cost;
        if until > now + Duration::from_secs(BURST_S.into()) {
            return false;
        }
        // More tokens than are watched go unlimited: nobody pays for the number of others.
        if state.until.len() < MAX_TOKENS || state.until.contains_key(token) {
            state.until.insert(token.to_owned(), until);
        }
        true
    }
}

impl State {
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

    fn admitted(limiter: &RateLimiter, token: &str, now: Instant) -> usize {
        (0..1000).take_while(|_| limiter.check(token, now)).count()
    }

    #[test]
    fn a_token_has_its_burst_and_then_its_rate() {
        let (limiter, now) = (RateLimiter::new(4), Instant::now());
        assert_eq!(admitted(&limiter, "a", now), 40);
        assert_eq!(admitted(&limiter, "b", now), 40, "another token is not affected");
        let soon = now + Duration::from_secs(1);
        assert_eq!(admitted(&limiter, "a", soon), 4, "what was refused has cost nothing");
        assert_eq!(admitted(&limiter, "a", soon + Duration::from_secs(3600)), 40);
    }

    #[test]
    fn quiet_tokens_are_forgotten() {
        let (limiter, now) = (RateLimiter::new(4), Instant::now());
        for n in 0..100 {
            assert!(limiter.check(&n.to_string(), now));
        }
        assert!(limiter.check("late", now + CLEANUP_INTERVAL));
        assert_eq!(limiter.state.lock().expect("whole").until.len(), 1);
    }

    #[test]
    fn the_number_of_watched_tokens_is_bounded_and_refuses_nobody() {
        let (limiter, now) = (RateLimiter::new(1), Instant::now());
        for n in 0..MAX_TOKENS + 10 {
            assert!(limiter.check(&n.to_string(), now));
        }
        assert_eq!(limiter.state.lock().expect("whole").until.len(), MAX_TOKENS);
        assert_eq!(admitted(&limiter, "0", now), 9, "those that are watched still are");
    }
}
