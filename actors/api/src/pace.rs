//! How fast one token may ask. Pure, but for the lock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many seconds' worth of requests a token that was quiet may make at once.
const BURST_S: u32 = 10;

/// How many tokens are watched at a time. Only valid ones are.
const MAX_TOKENS: usize = 100_000;

/// Between two looks at which tokens are quiet again.
const CLEANING: Duration = Duration::from_secs(60);

/// The pace of all tokens; clones share it.
#[derive(Clone)]
pub(crate) struct Pace {
    /// What one request costs of a token's time.
    cost: Duration,
    spent: Arc<Mutex<Spent>>,
}

#[derive(Default)]
struct Spent {
    /// By token id: until when the requests made so far use up its time. In the past, or absent,
    /// all of its burst is left.
    until: HashMap<String, Instant>,
    cleaned: Option<Instant>,
}

impl Pace {
    /// Allows each token `rate` requests a second on the average, and [`BURST_S`] times as many at
    /// once.
    pub(crate) fn new(rate: u32) -> Self {
        Self { cost: Duration::from_secs(1) / rate.max(1), spent: Arc::default() }
    }

    /// Counts a request with the token of this id and returns whether it may be made. A refused one
    /// is not counted: as the rate is at least one, the next may be made within a second.
    pub(crate) fn admits(&self, token: &str, now: Instant) -> bool {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.clean(now);
        let begun = spent.until.get(token).map_or(now, |until| now.max(*until));
        let until = begun + self.cost;
        if until > now + Duration::from_secs(BURST_S.into()) {
            return false;
        }
        // More tokens than are watched go unlimited: nobody pays for the number of others.
        if spent.until.len() < MAX_TOKENS || spent.until.contains_key(token) {
            spent.until.insert(token.to_owned(), until);
        }
        true
    }
}

impl Spent {
    fn clean(&mut self, now: Instant) {
        let due = |cleaned: Instant| now.saturating_duration_since(cleaned) >= CLEANING;
        if self.cleaned.is_none_or(due) {
            self.cleaned = Some(now);
            self.until.retain(|_, until| *until > now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(pace: &Pace, token: &str, now: Instant) -> usize {
        (0..1000).take_while(|_| pace.admits(token, now)).count()
    }

    #[test]
    fn a_token_has_its_burst_and_then_its_rate() {
        let (pace, now) = (Pace::new(4), Instant::now());
        assert_eq!(admitted(&pace, "a", now), 40);
        assert_eq!(admitted(&pace, "b", now), 40, "another token is not affected");
        let soon = now + Duration::from_secs(1);
        assert_eq!(admitted(&pace, "a", soon), 4, "what was refused has cost nothing");
        assert_eq!(admitted(&pace, "a", soon + Duration::from_secs(3600)), 40);
    }

    #[test]
    fn quiet_tokens_are_forgotten() {
        let (pace, now) = (Pace::new(4), Instant::now());
        for n in 0..100 {
            assert!(pace.admits(&n.to_string(), now));
        }
        assert!(pace.admits("late", now + CLEANING));
        assert_eq!(pace.spent.lock().expect("whole").until.len(), 1);
    }

    #[test]
    fn the_number_of_watched_tokens_is_bounded_and_refuses_nobody() {
        let (pace, now) = (Pace::new(1), Instant::now());
        for n in 0..MAX_TOKENS + 10 {
            assert!(pace.admits(&n.to_string(), now));
        }
        assert_eq!(pace.spent.lock().expect("whole").until.len(), MAX_TOKENS);
        assert_eq!(admitted(&pace, "0", now), 9, "those that are watched still are");
    }
}
