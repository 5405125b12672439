//! What a client says of its first frame: for the gateway alone, so no log keeps it and no instance
//! hears it. Published clients say nothing of the kind. Pure.

use serde::Deserialize;

/// What a report begins with, exactly so. All other texts are signals, and are not read any further
/// for it.
const BEGINNING: &str = r#"{"type":"first_frame""#;

/// A report is not so long.
const MAX_BYTES: usize = 128;

/// Later frames are believed to nobody: a boot is long over.
const MAX_AFTER_MS: u64 = 600_000;

#[derive(Deserialize)]
struct Report {
    after_ms: u64,
}

/// Whether `text` is a report, which may be nonsense, and no signal.
pub(super) fn is_report(text: &str) -> bool {
    text.starts_with(BEGINNING)
}

/// Returns how many milliseconds after the client asked to join or create its first frame was
/// there; nothing if the report makes no sense.
pub(super) fn read(text: &str) -> Option<u64> {
    let text = Some(text).filter(|text| is_report(text) && text.len() <= MAX_BYTES)?;
    let Report { after_ms } = serde_json::from_str(text).ok()?;
    (after_ms <= MAX_AFTER_MS).then_some(after_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_how_many_milliseconds_it_took() {
        let took = |ms: u64| read(&format!(r#"{{"type":"first_frame","after_ms":{ms}}}"#));
        for ms in [0, 812, 600_000] {
            assert_eq!(took(ms), Some(ms));
        }
        assert_eq!(took(600_001), None);
        assert_eq!(took(u64::MAX), None);
        let more = r#"{"type":"first_frame", "after_ms": 7, "codec": "H264"}"#;
        assert_eq!(read(more), Some(7));
    }

    #[test]
    fn a_report_that_makes_no_sense_is_one_all_the_same_and_says_nothing() {
        let long = format!(r#","after_ms":7,"pad":"{}"}}"#, "a".repeat(128));
        for rest in [
            "",
            "}",
            r#","after_ms":null}"#,
            r#","after_ms":"7"}"#,
            r#","after_ms":-1}"#,
            r#","after_ms":7.0}"#,
            r#","after_ms":1e3}"#,
            r#","after_ms":18446744073709551616}"#,
            r#","after_ms":7,"after_ms":8}"#,
            r#","after_ms":7"#,
            r#","after_ms":7}}"#,
            &long,
        ] {
            let text = format!("{BEGINNING}{rest}");
            assert!(is_report(&text), "{text}");
            assert_eq!(read(&text), None, "{text}");
        }
    }

    #[test]
    fn what_begins_otherwise_is_a_signal() {
        for text in [
            r#"{"type":"answer","sdp":"dj0w"}"#,
            r#"{"type":"first_frames","after_ms":7}"#,
            r#"{ "type":"first_frame","after_ms":7}"#,
            r#"{"after_ms":7,"type":"first_frame"}"#,
            r#"{"id":"a","signal":{"type":"first_frame","after_ms":7}}"#,
            "",
        ] {
            assert!(!is_report(text), "{text}");
            assert_eq!(read(text), None, "{text}");
        }
    }
}
