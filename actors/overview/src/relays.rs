//! How the relays are, as this agent finds them now.

use stream_protocol::{Refusal, RefusalCode, RelayOverview, RelayState};
use stream_turn::{ProbeReport, ProbeRow, Turn};

/// Tries every relay over each of its transports.
///
/// # Errors
///
/// Refuses while the secret of a pool is not known.
pub(crate) async fn look(turn: &Turn) -> Result<Vec<RelayOverview>, Refusal> {
    let probed = turn.probe().await;
    let probed =
        probed.map_err(|error| Refusal::new(RefusalCode::Unavailable, error.to_string()))?;
    Ok(probed.into_iter().map(relay).collect())
}

fn relay(report: ProbeReport) -> RelayOverview {
    let state = match report.state {
        stream_turn::RelayState::Healthy => RelayState::Good,
        stream_turn::RelayState::Withheld => RelayState::Withheld,
        stream_turn::RelayState::Drained => RelayState::Drained,
    };
    let ProbeRow { pool, server, transport, binding, allocate, .. } = report.into();
    let failures = [("binding", binding.as_ref().err()), ("allocation", allocate.as_ref().err())];
    let failures = failures.into_iter().filter_map(|(what, why)| Some((what, why?)));
    let failures: Vec<_> = failures.map(|(what, why)| format!("{what}: {why}")).collect();
    RelayOverview {
        pool,
        server,
        state,
        transport,
        binding_us: binding.ok(),
        allocate_us: allocate.ok(),
        cause: failures.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stream_turn::{ProbeError, ProbeTimings};

    use super::*;

    #[test]
    fn times_are_kept_and_failures_told() {
        let report = ProbeReport {
            pool: "default".into(),
            server: "turn:a".into(),
            transport: "udp",
            timings: ProbeTimings {
                binding: Ok(Duration::from_micros(400)),
                allocate: Err(ProbeError::Refused { code: 401, reason: "Unauthorized".into() }),
            },
            state: stream_turn::RelayState::Withheld,
        };
        let told = relay(report);
        assert_eq!((told.binding_us, told.allocate_us), (Some(400), None));
        assert_eq!(told.cause, "allocation: it refuses: 401 Unauthorized");
        assert_eq!(told.state, RelayState::Withheld);
    }
}
