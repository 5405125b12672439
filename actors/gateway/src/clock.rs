use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time in Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
