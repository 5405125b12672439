//! What is measured of AMS.

use stream_metrics::{Collect, Durations, Exposition};
use stream_pki::ReloadStatus;

use crate::connection::Connections;
use crate::error::AmsError;

/// The figures of this process. A restart of the actor keeps them.
#[derive(Clone)]
pub(crate) struct AmsMetrics {
    calls: Durations,
    connections: Connections,
    /// What came of the last look at the certificate files.
    pub(crate) reload: ReloadStatus,
}

impl AmsMetrics {
    pub(crate) fn new(connections: Connections) -> Self {
        Self { calls: Durations::of_calls(), connections, reload: ReloadStatus::default() }
    }

    /// Measures `work` as a `call`, however many requests it takes.
    pub(crate) async fn observe<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, AmsError>> + Unpin,
    ) -> Result<T, AmsError> {
        self.calls.observe_call(call, |done| outcome(done.as_ref().err()), work).await
    }
}

impl Collect for AmsMetrics {
    fn collect(&self, exposition: &mut Exposition) {
        let help = "Time to the end of a call of AMS, with what it takes to repeat it";
        exposition.durations("ams_call_duration_seconds", help, &self.calls);
        let connection = self.connections.current();
        exposition.certificate("ams_client", connection.not_after);
        exposition.certificate("ams_authority", connection.trust_not_after());
        exposition.certificate_files("ams", self.reload.failure().is_some());
    }
}

/// How a call ended, for its label.
fn outcome(error: Option<&AmsError>) -> &'static str {
    match error {
        None => "ok",
        Some(AmsError::Unreachable(_)) => "unreachable",
        Some(AmsError::TimedOut | AmsError::Unavailable(_)) => "timed_out",
        Some(AmsError::Busy(_)) => "busy",
        Some(error) if error.is_want_of_room() => "no_room",
        Some(AmsError::NotFound) => "not_found",
        Some(
            AmsError::Config(_)
            | AmsError::Conflict
            | AmsError::Malformed(_)
            | AmsError::NameTaken(_)
            | AmsError::NotDeleted
            | AmsError::Refused { .. },
        ) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_room_is_told_from_other_refusals() {
        let refused = |text: &str| AmsError::Refused { code: 500, text: text.to_owned() };
        assert_eq!(outcome(Some(&refused("no suitable node found"))), "no_room");
        assert_eq!(outcome(Some(&refused("no such image"))), "refused");
        assert_eq!((outcome(None), outcome(Some(&AmsError::TimedOut))), ("ok", "timed_out"));
    }
}
