//! What is counted and measured of NATS.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_nats::jetstream::account::Account;
use parking_lot::Mutex;
use stream_metrics::{Counts, Durations, Exposition};
use stream_pki::ReloadStatus;

use crate::BridgeError;

/// A reader has missed what was published, and reads the log instead.
pub(crate) const GAP: &str = "gap";

/// A reader came too late: what it has not read is not kept any more.
pub(crate) const HISTORY_GONE: &str = "history_gone";

/// The figures of all connections of this process. A restart of the actor keeps them.
///
/// Every reader of signals has them in its hands, and there are thousands: so it is one pointer.
#[derive(Clone, Default)]
pub(crate) struct NatsMetrics(Arc<Figures>);

struct Figures {
    calls: Durations,
    behind: Counts,
    connects: AtomicU64,
    /// What the account of this service uses of the store, and may use at most; in bytes.
    store: Mutex<Option<(u64, Option<u64>)>>,
    certificates: Mutex<Certificates>,
    /// What came of the last look at the certificate files.
    reload: ReloadStatus,
}

/// When the certificates that were loaded last end to be valid, in seconds since 1970.
#[derive(Clone, Copy, Default)]
pub(crate) struct Certificates {
    pub(crate) authority: Option<u64>,
    pub(crate) client: Option<u64>,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            calls: Durations::of_calls(),
            behind: Counts::of([GAP, HISTORY_GONE].map(|cause| vec![("cause", cause)])),
            connects: AtomicU64::default(),
            store: Mutex::default(),
            certificates: Mutex::default(),
            reload: ReloadStatus::default(),
        }
    }
}

impl NatsMetrics {
    /// Measures `work` as a `call`.
    pub(crate) async fn observe<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, BridgeError>> + Unpin,
    ) -> Result<T, BridgeError> {
        self.0.calls.observe_call(call, |done| outcome(done.as_ref().err()), work).await
    }

    /// Counts a reader of signals that was left behind, for [`GAP`] or [`HISTORY_GONE`].
    pub(crate) fn reader_behind(&self, cause: &'static str) {
        self.0.behind.add(&vec![("cause", cause)]);
    }

    pub(crate) fn connected(&self) {
        self.0.connects.fetch_add(1, Relaxed);
    }

    pub(crate) fn set_account(&self, account: &Account) {
        let limit = account.limits.max_storage.and_then(|limit| u64::try_from(limit).ok());
        let of_streams = Some(account.reserved_storage).filter(|limit| *limit > 0);
        let limit = limit.or(of_streams);
        *self.0.store.lock() = Some((account.storage, limit));
    }

    pub(crate) fn set_certificates(&self, certificates: Certificates) {
        *self.0.certificates.lock() = certificates;
    }

    pub(crate) fn reload(&self) -> &ReloadStatus {
        &self.0.reload
    }

    pub(crate) fn collect(&self, exposition: &mut Exposition) {
        let Figures { calls, behind, connects, store, certificates, reload } = &*self.0;
        let help = "Time to the end of a call of NATS; `request` is answered by another unit";
        exposition.durations("nats_call_duration_seconds", help, calls);
        let help = "Readers of signals that were left behind and read the log anew";
        exposition.happened("signal_readers_behind", help, behind);
        let connects = connects.load(Relaxed);
        let help = "How often a connection to NATS was ready";
        exposition.counters("nats_connects", help, [(Vec::new(), connects)]);
        if let Some((used, limit)) = *store.lock() {
            let help = "What NATS stores for the account of this service";
            exposition.count("nats_store_used_bytes", help, used);
            if let Some(limit) = limit {
                let help = "What NATS stores for the account of this service at most: the limit of \
                    the account, else those of its streams together";
                exposition.count("nats_store_limit_bytes", help, limit);
            }
        }
        let Certificates { authority, client } = *certificates.lock();
        exposition.certificate("nats_authority", authority);
        exposition.certificate("nats_client", client);
        exposition.certificate_files("nats", reload.failure().is_some());
    }
}

/// How a call ended, for its label.
fn outcome(error: Option<&BridgeError>) -> &'static str {
    match error {
        None => "ok",
        Some(BridgeError::Disconnected(_)) => "disconnected",
        Some(BridgeError::TimedOut | BridgeError::Unavailable(_)) => "timed_out",
        Some(BridgeError::StoreRefused(_)) => "not_stored",
        Some(BridgeError::NoResponder) => "no_responder",
        Some(
            BridgeError::Conflict
            | BridgeError::ForeignBucket(_)
            | BridgeError::HistoryGone { .. }
            | BridgeError::Malformed(_)
            | BridgeError::NotFound
            | BridgeError::Refused(_),
        ) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::account::Limits;
    use stream_metrics::Format;

    use super::*;

    #[test]
    fn the_limit_of_the_store_is_that_of_the_account_or_else_of_its_streams() {
        let limit = |account: Account| {
            let metrics = NatsMetrics::default();
            metrics.set_account(&account);
            metrics.0.store.lock().and_then(|(_, limit)| limit)
        };
        let limits = Limits { max_storage: Some(9), ..Limits::default() };
        assert_eq!(limit(Account { reserved_storage: 7, limits, ..Account::default() }), Some(9));
        assert_eq!(limit(Account { reserved_storage: 7, ..Account::default() }), Some(7));
    }

    #[test]
    fn a_store_without_a_limit_and_certificates_without_an_end_are_left_out() {
        let (metrics, mut exposition) = (NatsMetrics::default(), Exposition::new("p"));
        metrics.set_account(&Account { storage: 7, ..Account::default() });
        metrics.set_certificates(Certificates { authority: Some(9), client: None });
        metrics.connected();
        metrics.collect(&mut exposition);
        let text = exposition.text(Format::Text);
        for line in [
            "p_nats_store_used_bytes 7",
            "p_nats_connects_total{} 1",
            r#"p_certificate_not_after_timestamp_seconds{use="nats_authority"} 9"#,
            r#"p_certificate_files_refused{use="nats"} 0"#,
            r#"p_signal_readers_behind_total{cause="gap"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("limit_bytes") && !text.contains("nats_client"), "{text}");
    }
}
