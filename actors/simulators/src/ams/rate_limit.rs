use std::time::{Duration, Instant};

use super::error::ApiError;

/// Counts the requests of the present second.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter {
    since: Option<Instant>,
    count: u32,
}

impl RateLimiter {
    /// Counts a request; refuses it when there were `max` in this second already.
    pub(crate) fn take(&mut self, max: Option<u32>, now: Instant) -> Result<(), ApiError> {
        let Some(max) = max else { return Ok(()) };
        let is_over = |since| now.saturating_duration_since(since) >= Duration::from_secs(1);
        if self.since.is_none_or(is_over) {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count = self.count.saturating_add(1);
        if self.count > max { Err(ApiError::Throttled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_takes_so_many_requests_and_the_next_one_as_many_again() {
        let (mut rate_limiter, now) = (RateLimiter::default(), Instant::now());
        for _ in 0..2 {
            assert_eq!(rate_limiter.take(Some(2), now), Ok(()));
        }
        assert_eq!(rate_limiter.take(Some(2), now), Err(ApiError::Throttled));
        assert_eq!(rate_limiter.take(None, now), Ok(()));
        assert_eq!(rate_limiter.take(Some(2), now + Duration::from_secs(1)), Ok(()));
    }
}
