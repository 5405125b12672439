//! Whether clocks agree. Sessions go by that of NATS; tokens and credentials end by the clock of
//! whoever looks at them.

use std::time::Duration;

use super::Finding;

/// What agents tell their operators of.
const WARN: Duration = Duration::from_secs(5);

/// From here on tokens and credentials are refused, or good for too long.
const WRONG: Duration = Duration::from_secs(60);

/// Judges by how much the clock of this system differs from that of `other`, which is known but for
/// `blur`.
pub(super) fn judge(other: &str, skew: Duration, blur: Duration) -> Finding {
    let apart = skew.saturating_sub(blur);
    let what =
        format!("the clock of this system and that of {other} differ by {} s", skew.as_secs());
    let remedy = "set both by NTP";
    match apart {
        apart if apart > WRONG => Finding::error("clocks", what, remedy),
        apart if apart > WARN => Finding::warning("clocks", what, remedy),
        _ => Finding::good("clocks", format!("the clock of {other} agrees with this one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn a_clock_that_is_off_is_told_of_by_how_much() {
        let judge = |s| judge("NATS", Duration::from_secs(s), Duration::from_secs(1));
        assert_eq!(judge(6).severity, Severity::Good, "it may be five");
        assert_eq!(judge(7).severity, Severity::Warning);
        let wrong = judge(3600);
        assert_eq!(wrong.severity, Severity::Error);
        assert!(wrong.what.contains("3600 s") && wrong.remedy.contains("NTP"), "{wrong:?}");
    }
}
