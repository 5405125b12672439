//! Points in time as documents and bodies carry them: Unix seconds behind a type.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time in Unix seconds: whole seconds since 1970-01-01T00:00:00Z, a number in JSON.
///
/// Arithmetic saturates at both ends and drops fractions of a second. [`Display`](fmt::Display)
/// writes RFC 3339 in UTC, and [`FromStr`] reads RFC 3339 in any time zone.
///
/// ```
/// use std::time::Duration;
/// use stream_protocol::Timestamp;
///
/// let start = Timestamp::from_unix(1_700_000_000);
/// assert_eq!((start + Duration::from_secs(60)).to_string(), "2023-11-14T22:14:20Z");
/// assert_eq!(start - (start + Duration::from_secs(60)), Duration::ZERO);
/// ```
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The first second of 1970: "never" in documents that always carry a time.
    pub const EPOCH: Self = Self(0);

    /// Returns the present second of the system's clock.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Returns the point `seconds` after [`EPOCH`](Self::EPOCH).
    pub const fn from_unix(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Returns the seconds since [`EPOCH`](Self::EPOCH).
    pub const fn as_unix(self) -> u64 {
        self.0
    }

    /// Returns the point `seconds` later, or the last one there is.
    pub const fn plus_secs(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Returns the seconds that have passed since `earlier`; 0 when it is the later one.
    pub const fn secs_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.plus_secs(duration.as_secs())
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }
}

impl Sub for Timestamp {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_secs(self.secs_since(earlier))
    }
}

/// Unix seconds.
impl From<u64> for Timestamp {
    fn from(seconds: u64) -> Self {
        Self(seconds)
    }
}

/// A clock before 1970 counts as [`EPOCH`](Timestamp::EPOCH).
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH);
        Self(since_epoch.map_or(0, |duration| duration.as_secs()))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(Timestamp(seconds): Timestamp) -> Self {
        let after = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        // Later than the clock of this system can say: its own last year is as good.
        after.unwrap_or_else(|| SystemTime::UNIX_EPOCH + Duration::from_secs(u32::MAX.into()))
    }
}

/// A moment before 1970 counts as [`EPOCH`](Timestamp::EPOCH), and fractions of a second are
/// dropped.
impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TimestampError)?;
        Ok(Self(u64::try_from(moment.unix_timestamp()).unwrap_or_default()))
    }
}

/// A text is not a moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a moment as RFC 3339 writes it")]
pub struct TimestampError;

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = i64::try_from(self.0).ok().and_then(|seconds| {
            OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
        });
        match date {
            Some(date) => f.pad(&date),
            // RFC 3339 ends with the year 9999.
            None => write!(f, "@{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_timestamp_is_a_number_in_json_and_rfc_3339_in_text() {
        let at = Timestamp::from_unix(1_700_000_000);
        assert_eq!(serde_json::to_string(&at).unwrap(), "1700000000");
        assert_eq!(serde_json::from_str::<Timestamp>("1700000000").unwrap(), at);
        assert_eq!(at.to_string(), "2023-11-14T22:13:20Z");
        for text in ["2023-11-14T22:13:20Z", "2023-11-14T23:13:20.9+01:00"] {
            assert_eq!(text.parse(), Ok(at), "{text}");
        }
        assert_eq!("1969-12-31T23:59:59Z".parse(), Ok(Timestamp::EPOCH));
        for text in ["", "1700000000", "2023-11-14", "2023-02-30T00:00:00Z"] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimestampError), "{text}");
        }
        assert!(serde_json::from_str::<Timestamp>("-1").is_err());
        assert_eq!(Timestamp::from_unix(u64::MAX).to_string(), format!("@{}", u64::MAX));
    }

    #[test]
    fn the_clock_of_the_system_is_read_and_given_back() {
        let now = Timestamp::now();
        assert!(now > Timestamp::from_unix(1_700_000_000));
        assert_eq!(Timestamp::from(SystemTime::from(now)), now);
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Timestamp::from(before), Timestamp::EPOCH);
    }

    proptest! {
        #[test]
        fn arithmetic_saturates_and_order_is_that_of_time(one: u64, other: u64) {
            let (at, span) = (Timestamp::from_unix(one), Duration::from_secs(other));
            prop_assert_eq!((at + span).as_unix(), one.saturating_add(other));
            prop_assert_eq!((at - span).as_unix(), one.saturating_sub(other));
            prop_assert!(at + span >= at && at - span <= at);
            let apart = Duration::from_secs(one.saturating_sub(other));
            prop_assert_eq!(at - Timestamp::from_unix(other), apart);
        }
    }
}
