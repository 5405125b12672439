//! The clock of the store, and which store it is: what all units of a deployment have in common.
//!
//! Deadlines lie in documents that one unit writes and another judges, so both go by the clock of
//! NATS. Between two looks it is carried on by what no clock that is set anew can move.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::Client;
use parking_lot::Mutex;
use serde::Deserialize;
use stream_protocol::Timestamp;
use stream_protocol::subjects::Bucket;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::connection::with_timeout;

/// The last reading of the clock. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct StoreClock(Arc<Mutex<Option<Reading>>>);

#[derive(Clone, Copy, Debug)]
struct Reading {
    created: OffsetDateTime,
    /// What the server's clock showed at `at`.
    time: SystemTime,
    at: Instant,
}

/// What the server says of a stream; servers before 2.10 do not tell their time.
#[derive(Deserialize)]
struct StreamInfo {
    #[serde(with = "time::serde::rfc3339")]
    created: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    ts: OffsetDateTime,
}

impl StoreClock {
    /// Asks the server that leads the session documents. Without an answer the last look counts on.
    pub(crate) async fn read(&self, client: &Client) {
        let subject = format!("$JS.API.STREAM.INFO.KV_{}", Bucket::Sessions.name());
        let asked = Instant::now();
        let answer = with_timeout(client.request(subject, "".into())).await;
        let answered = Instant::now();
        let info = answer.ok().and_then(Result::ok).map(|answer| answer.payload);
        match info.map(|info| serde_json::from_slice::<StreamInfo>(&info)) {
            Some(Ok(info)) => self.observe(&info, asked, answered),
            Some(Err(error)) => log::debug!(error:%; "the store does not tell its time"),
            None => {}
        }
    }

    /// Takes what a simulated server says: when its store was made, and its time.
    #[cfg(feature = "simulation")]
    pub(crate) fn set(&self, created: OffsetDateTime, ts: OffsetDateTime) {
        let now = Instant::now();
        self.observe(&StreamInfo { created, ts }, now, now);
    }

    fn observe(&self, StreamInfo { created, ts }: &StreamInfo, asked: Instant, answered: Instant) {
        // The answer was written half-way, as far as that can be known.
        let at = asked + answered.saturating_duration_since(asked) / 2;
        *self.0.lock() = Some(Reading { created: *created, time: (*ts).into(), at });
    }

    /// Returns the time of the store at `at`; before the first look, that of the system.
    pub(crate) fn now(&self, at: Instant) -> Timestamp {
        let look = *self.0.lock();
        look.map_or_else(SystemTime::now, |look| look.at(at)).into()
    }

    /// Returns by how much a clock that shows `time` at `at` differs from that of the store.
    pub(crate) fn skew(&self, time: SystemTime, at: Instant) -> Duration {
        let store = self.0.lock().map_or(time, |look| look.at(at));
        let ahead = time.duration_since(store);
        ahead.unwrap_or_else(|behind| behind.duration())
    }

    /// Returns what no other store is called, once this one was looked at.
    pub(crate) fn store_id(&self) -> Option<String> {
        let look = *self.0.lock();
        look.map(|look| look.created.unix_timestamp_nanos().to_string())
    }
}

impl Reading {
    fn at(self, at: Instant) -> SystemTime {
        self.time + at.saturating_duration_since(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> StreamInfo {
        let json = format!(r#"{{"created":"2026-01-02T03:04:05.000000006Z","ts":"{text}"}}"#);
        serde_json::from_str(&json).expect("what a server says")
    }

    #[test]
    fn the_time_of_the_store_goes_on_by_itself_whatever_the_own_clock_does() {
        let (clock, asked) = (StoreClock::default(), Instant::now());
        let second = Duration::from_secs(1);
        // Answered in the middle of two seconds: half a second after the second began.
        clock.observe(&info("2026-01-02T03:04:05.5Z"), asked, asked + 2 * second);
        let at = |text: &str| text.parse::<Timestamp>().expect("a moment");
        assert_eq!(clock.now(asked + second), at("2026-01-02T03:04:05Z"));
        assert_eq!(clock.now(asked + second * 3 / 2), at("2026-01-02T03:04:06Z"));
        assert_eq!(clock.clone().now(asked + 61 * second), at("2026-01-02T03:05:05Z"));
    }

    #[test]
    fn another_clock_differs_by_as_much_in_either_direction() {
        let (clock, now) = (StoreClock::default(), Instant::now());
        let store: SystemTime = at_store().into();
        assert_eq!(clock.skew(store, now), Duration::ZERO, "nothing to compare with");
        clock.observe(&info("2026-01-02T03:04:05Z"), now, now);
        for seconds in [0, 7, 3600] {
            let skew = Duration::from_secs(seconds);
            assert_eq!(clock.skew(store + skew, now), skew);
            assert_eq!(clock.skew(store - skew, now), skew);
        }
    }

    fn at_store() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().expect("a moment")
    }

    #[test]
    fn a_store_is_known_by_its_birth() {
        let (clock, now) = (StoreClock::default(), Instant::now());
        assert_eq!(clock.store_id(), None);
        clock.observe(&info("2026-01-02T03:04:05Z"), now, now);
        assert_eq!(clock.store_id().as_deref(), Some("1767323045000000006"));
    }
}
