//! Lengths of time and moments, as they are written on a command line.

use std::time::Duration;

use stream_protocol::Timestamp;

/// Reads a length of time, such as `90`, `90s` or `5m`; a bare number is seconds.
///
/// # Errors
///
/// Names the forms that are understood.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| span(text, "sm")).ok_or_else(|| "such as 90, 90s or 5m".to_owned())
}

/// Reads a length of time, such as `30m`, `24h` or `7d`.
///
/// # Errors
///
/// Names the forms that are understood.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    span(text, "mhd").ok_or_else(|| "such as 30m, 24h or 7d".to_owned())
}

/// Reads a time from now, `24h`, `30m` or `7d`, or a moment of UTC, `2030-01-31` or
/// `2030-01-31 18:00:00`.
///
/// # Errors
///
/// Names the forms that are understood.
pub fn parse_expiry(text: &str) -> Result<Timestamp, String> {
    span(text, "mhd")
        .map(|span| Timestamp::now() + span)
        .or_else(|| moment(text))
        .ok_or_else(|| "such as 24h, 30m, 7d, 2030-01-31 or \"2030-01-31 18:00:00\"".to_owned())
}

/// Reads a time as [`parse_expiry`] does, and a bare number as days from now.
///
/// # Errors
///
/// Names the forms that are understood.
pub fn parse_expiration(text: &str) -> Result<Timestamp, String> {
    match text.parse() {
        Ok(days) => Ok(days_from_now(days)),
        Err(_) => parse_expiry(text),
    }
}

/// Returns the moment `days` from now.
pub fn days_from_now(days: u64) -> Timestamp {
    Timestamp::now().plus_secs(days.saturating_mul(24 * 3600))
}

/// Reads a number with one of `units`.
fn span(text: &str, units: &str) -> Option<Duration> {
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds: u64 = match unit {
        _ if !units.contains(unit) => return None,
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    Some(Duration::from_secs(count.parse::<u64>().ok()?.checked_mul(seconds)?))
}

fn moment(text: &str) -> Option<Timestamp> {
    let (date, clock) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    format!("{date}T{clock}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_seconds_or_minutes() {
        assert_eq!(
            (parse_duration("90"), parse_duration("90s"), parse_duration("5m")),
            [90, 90, 300].map(|seconds| Ok(Duration::from_secs(seconds))).into()
        );
        for text in ["", "s", "m", "-1", "1h", "1.5", "18446744073709551615m"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_moment_is_a_time_from_now_or_a_date() {
        let at = |text| parse_expiry(text).expect("a time");
        let left = |text| at(text).secs_since(at("0m"));
        assert!((1800..1802).contains(&left("30m")) && (86_400..86_402).contains(&left("24h")));
        assert!((604_800..604_802).contains(&left("7d")));
        let days = parse_expiration("7").expect("a time").secs_since(at("0m"));
        assert!((604_800..604_802).contains(&days));
        assert_eq!(parse_expiration("2030-01-31"), parse_expiry("2030-01-31"));
        assert!(parse_expiration("-7").is_err() && parse_expiration("").is_err());
        assert_eq!(parse_expiry("2030-01-31"), Ok(1_896_048_000.into()));
        assert_eq!(parse_expiry("2030-01-31 18:00:01"), Ok(1_896_112_801.into()));
        for text in ["", "h", "24", "24s", "-1h", "1é", "1 h", "2030-02-30", "2030-01-31 18:00"] {
            assert!(parse_expiry(text).is_err(), "{text}");
        }
    }
}
