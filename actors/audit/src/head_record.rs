//! What NATS remembers of a log: the number and the code of its last line.

use std::time::Duration;

use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::Bucket;
use tokio::time::sleep;

use crate::AuditLog;
use crate::chain::Head;

/// How often NATS is told.
const INTERVAL: Duration = Duration::from_secs(60);

/// How soon it is tried again while NATS is away.
const RETRY: Duration = Duration::from_millis(500);

/// Tells NATS the last line of `log` at once and every minute, in the record of `unit` in `bucket`,
/// which only units of this service write. If NATS remembers more than there is at the start, lines
/// are missing: the log says so from then on. Returns at once where there is no log.
pub async fn publish_head(log: AuditLog, bridge: Bridge, bucket: Bucket, unit: String) {
    if log.0.is_none() {
        return;
    }
    let mut is_compared = false;
    loop {
        let told = tell(&log, &bridge, bucket, &unit, &mut is_compared).await;
        if let Err(error) = &told {
            log::debug!(error:%; "the end of the audit log is not in NATS yet");
        }
        sleep(if told.is_ok() { INTERVAL } else { RETRY }).await;
    }
}

async fn tell(
    log: &AuditLog,
    bridge: &Bridge,
    bucket: Bucket,
    unit: &str,
    is_compared: &mut bool,
) -> Result<(), BridgeError> {
    let Some(head) = log.head().await else { return Ok(()) };
    if !*is_compared {
        let remembered = remembered_head(bridge, bucket, unit).await?;
        if let Some(remembered) = remembered.filter(|remembered| is_missed(*remembered, head)) {
            log::error!(
                remembered = remembered.seq, found = head.seq;
                "lines of the audit log are missing: look into it with `audit verify`"
            );
            log.note_gap(remembered);
        }
        *is_compared = true;
    }
    bridge.put(bucket, &key(unit), &log.head().await.unwrap_or(head)).await?;
    Ok(())
}

/// Whether a log that ends with `head` has not the line that is `remembered`.
fn is_missed(remembered: Head, head: Head) -> bool {
    remembered.seq > head.seq || (remembered.seq == head.seq && remembered.mac != head.mac)
}

/// Returns what NATS remembers of the log of `unit`.
///
/// # Errors
///
/// NATS is away or gives no answer.
pub async fn remembered_head(
    bridge: &Bridge,
    bucket: Bucket,
    unit: &str,
) -> Result<Option<Head>, BridgeError> {
    Ok(bridge.read::<Head>(bucket, &key(unit)).await?.map(|entry| entry.value))
}

/// The key of the record. Not all that a unit may be called may be a key.
fn key(unit: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_=".contains(c);
    let word: String = unit.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    format!("audit.{word}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Mac;

    #[test]
    fn a_log_that_ends_before_what_is_remembered_has_lost_lines() {
        let (one, other) = (Mac::parse(&"11".repeat(32)), Mac::parse(&"22".repeat(32)));
        let head = |seq, mac: Option<Mac>| Head { seq, mac: mac.expect("a code") };
        assert!(!is_missed(head(3, one), head(3, one)) && !is_missed(head(2, other), head(3, one)));
        assert!(is_missed(head(4, one), head(3, one)) && is_missed(head(3, other), head(3, one)));
    }

    #[test]
    fn every_unit_has_a_key() {
        assert_eq!(
            key("stream-gateway host.example:4000"),
            "audit.stream-gateway_host_example_4000"
        );
    }
}
