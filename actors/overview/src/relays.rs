//! How the relays are, as this agent finds them now.

use std::time::Duration;

use stream_protocol::{Refusal, RefusalCode, RelayOverview, RelayState};
use stream_turn::{ProbeError, ProbeReport, ProbeTimings, Turn};

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
    let ProbeReport { pool, server, transport, timings, state } = report;
    let ProbeTimings { binding, allocate } = timings;
    let failures = [("binding", binding.as_ref().err()), ("allocation", allocate.as_ref().err())];
    let failures = failures.into_iter().filter_map(|(what, why)| Some((what, why?)));
    let failures: Vec<_> = failures.map(|(what, why)| format!("{what}: {why}")).collect();
    RelayOverview {
        pool,
        server,
        state: match state {
            stream_turn::RelayState::Healthy => RelayState::Good,
            stream_turn::RelayState::Withheld => RelayState::Withheld,
            stream_turn::RelayState::Drained => RelayState::Drained,
        },
        transport: transport.to_owned(),
        binding_us: micros(binding),
        allocate_us: micros(allocate),
        cause: failures.join("; "),
    }
}

fn micros(time: Result<Duration, ProbeError>) -> Option<u64> {
    Some(u64::try_from(time.ok()?.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
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
