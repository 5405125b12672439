use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last moment that a token can name: the end of the year 9999.
pub(crate) const END_OF_TIME: u64 = 253_402_300_799;

/// Returns the time in Unix seconds.
pub(crate) fn now() -> u64 {
    seconds(SystemTime::now())
}

/// Returns `moment` in Unix seconds.
pub(crate) fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns the moment at `second` of Unix time, or the last one there is.
pub(crate) fn moment(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second.min(END_OF_TIME))
}
