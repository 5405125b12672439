use std::time::SystemTime;

/// Returns the time of this system in seconds of UNIX: the dates of certificates are held against
/// it.
pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
