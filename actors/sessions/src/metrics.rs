//! What is counted and measured of sessions.

use std::time::Duration;

use stream_metrics::{Counts, Durations, Exposition};
use stream_protocol::{Refusal, SessionDocument, Status, Timestamp};
use stream_socket::SocketMetrics;
use tokio::time::Instant;

/// The figures of this agent. A restart of the actor keeps them.
#[derive(Clone)]
pub(crate) struct SessionMetrics {
    transitions: Counts,
    launches: Durations,
    boots: Durations,
    /// Those of instances, and their signals.
    pub(crate) sockets: SocketMetrics,
}

impl Default for SessionMetrics {
    fn default() -> Self {
        let all = [Status::Active, Status::Terminating, Status::Terminated, Status::Error];
        Self {
            transitions: Counts::of(all.map(|status| vec![("status", word(status))])),
            launches: Durations::of_calls(),
            boots: Durations::of_waits(),
            sockets: SocketMetrics::new(&["control", "signaling"]),
        }
    }
}

impl SessionMetrics {
    /// Takes a session that this agent has changed at `now`: its status `before`, and as it is.
    pub(crate) fn on_change(
        &self,
        before: Option<Status>,
        document: &SessionDocument,
        now: Timestamp,
    ) {
        let Some(before) = before.filter(|before| *before != document.status) else { return };
        self.transitions.add(&vec![("status", word(document.status))]);
        if (before, document.status) == (Status::Created, Status::Active) {
            self.boots.observe(&Vec::new(), now - document.created_at);
        }
    }

    /// Measures the request for a launch, to the answer of AMS or why there is none.
    pub(crate) async fn observe_launch<T>(
        &self,
        launch: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let begun = Instant::now();
        let launched = launch.await;
        let outcome = match &launched {
            Ok(_) => "ok",
            Err(refusal) if refusal.code.is_transient() => "not_now",
            Err(_) => "failed",
        };
        self.launches.observe(&vec![("outcome", outcome)], begun.elapsed());
        launched
    }

    /// Measures a signal of an instance that came by a request.
    pub(crate) fn signal_stored(&self, took: Duration) {
        self.sockets.stored(stream_protocol::Direction::ToClient, took);
    }

    pub(crate) fn collect(&self, exposition: &mut Exposition) {
        let help = "Changes of sessions by this agent, by the status that they came to";
        exposition.happened("session_transitions", help, &self.transitions);
        let help = "Time from the request of a gateway until AMS has accepted the launch";
        exposition.durations("session_launch_duration_seconds", help, &self.launches);
        let help = "Time from the client's request until the instance runs";
        exposition.durations("session_boot_duration_seconds", help, &self.boots);
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Active => "active",
        Status::Terminating => "terminating",
        Status::Terminated => "terminated",
        Status::Error => "error",
    }
}

#[cfg(test)]
mod tests {
    use stream_metrics::Format;

    use super::*;

    #[test]
    fn a_boot_is_measured_once_and_what_changes_no_status_is_not_counted() {
        let metrics = SessionMetrics::default();
        let mut document = SessionDocument::sample();
        document.status = Status::Active;
        let now = document.created_at.plus_secs(3);
        for before in [Some(Status::Created), Some(Status::Active), Some(Status::Error), None] {
            metrics.on_change(before, &document, now);
        }
        let mut exposition = Exposition::new("p");
        metrics.collect(&mut exposition);
        let text = exposition.text(Format::Text);
        for line in [
            r#"p_session_transitions_total{status="active"} 2"#,
            r#"p_session_transitions_total{status="error"} 0"#,
            "p_session_boot_duration_seconds_count{} 1",
            "p_session_boot_duration_seconds_sum{} 3.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
