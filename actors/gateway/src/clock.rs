use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    // A token can name no time after the year 9999.
    UNIX_EPOCH + Duration::from_secs(second.min(253_402_300_799))
}
