//! The relays as operators see them: what each agent finds of each.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use stream_bridge::Bridge;
use stream_protocol::subjects::{self, AgentOp};
use stream_protocol::{AgentId, Empty, Refusal, RelayOverview, RelayState};

use crate::agent_view::silence;
use crate::placement;

/// How long an agent may take to try its relays; each is tried for 3 s.
const DEADLINE: Duration = Duration::from_secs(5);

/// So many agents are asked at the same time.
const AT_ONCE: usize = 64;

/// A relay, as operators see it. Which relays an agent has that does not answer is not known: such
/// agents are in a row of their own, without a name.
#[derive(Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Relay"))]
pub(crate) struct RelayView {
    pool: String,
    /// Its first URL; empty for the agents that do not answer.
    server: String,
    /// The worst that an agent makes of it.
    state: RelayVerdict,
    agents: Vec<RelayAtAgent>,
}

/// What is known of a relay, the best first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "RelayState"))]
#[serde(rename_all = "snake_case")]
enum RelayVerdict {
    /// It is handed out.
    Good,
    /// An operator has taken it out.
    Drained,
    /// It has failed its probes, and is not handed out.
    Withheld,
    /// The agent gives signs of life, and does not say how its relays are.
    Silent,
}

impl RelayView {
    /// What tells it apart from others.
    pub(crate) fn key(&self) -> (&str, &str) {
        (&self.pool, &self.server)
    }
}

impl From<RelayState> for RelayVerdict {
    fn from(state: RelayState) -> Self {
        match state {
            RelayState::Good => Self::Good,
            RelayState::Drained => Self::Drained,
            RelayState::Withheld => Self::Withheld,
        }
    }
}

/// What one agent makes of a relay.
#[derive(Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RelayAtAgent {
    agent: String,
    state: RelayVerdict,
    /// Why it is `silent`; empty otherwise.
    cause: String,
    transports: Vec<RelayTransport>,
}

/// How a relay answers an agent over one transport.
#[derive(Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RelayTransport {
    /// `udp`, `tcp` or `tls`.
    transport: String,
    /// The round trip of a STUN binding, in microseconds; `null` when it failed.
    binding_us: Option<u64>,
    /// What an allocation took, in microseconds; `null` when it failed.
    allocate_us: Option<u64>,
    /// Why one of them failed; empty when both succeeded.
    cause: String,
}

/// Has every agent try its relays, and returns these, the worst first; before them the agents that
/// do not say in time how theirs are.
///
/// # Errors
///
/// Refuses while NATS is away.
pub(crate) async fn ask_all(bridge: &Bridge) -> Result<Vec<RelayView>, Refusal> {
    let mut agents: Vec<_> =
        placement::list(bridge).await?.into_iter().map(|presence| presence.agent).collect();
    agents.sort();
    let asked = agents.into_iter().map(async |agent| {
        let subject = subjects::agent(&agent, AgentOp::Relays);
        let told = bridge.ask::<_, Vec<RelayOverview>>(subject, &Empty {}, DEADLINE).await;
        if let Err(error) = &told {
            log::debug!(agent:%, error:%; "an agent does not say how its relays are");
        }
        (agent, told.map_err(|error| silence(&error)))
    });
    Ok(rows(stream::iter(asked).buffered(AT_ONCE).collect::<Vec<_>>().await))
}

fn rows(told: Vec<(AgentId, Result<Vec<RelayOverview>, String>)>) -> Vec<RelayView> {
    let mut relays: BTreeMap<(String, String), Vec<RelayAtAgent>> = BTreeMap::new();
    for (agent, told) in told {
        let found = told.unwrap_or_else(|cause| {
            let (agent, state) = (agent.to_string(), RelayVerdict::Silent);
            let silent = RelayAtAgent { agent, state, cause, transports: Vec::new() };
            relays.entry(Default::default()).or_default().push(silent);
            Vec::new()
        });
        for relay in found {
            let RelayOverview { pool, server, state, transport, binding_us, allocate_us, cause } =
                relay;
            let way = RelayTransport { transport, binding_us, allocate_us, cause };
            let at_agents = relays.entry((pool, server)).or_default();
            match at_agents.last_mut().filter(|last| last.agent == agent.as_str()) {
                Some(last) => last.transports.push(way),
                None => at_agents.push(RelayAtAgent {
                    agent: agent.to_string(),
                    state: state.into(),
                    cause: String::new(),
                    transports: vec![way],
                }),
            }
        }
    }
    let row = |((pool, server), agents): (_, Vec<RelayAtAgent>)| {
        let state = agents.iter().map(|at| at.state).max().unwrap_or(RelayVerdict::Good);
        RelayView { pool, server, state, agents }
    };
    let mut rows: Vec<_> = relays.into_iter().map(row).collect();
    rows.sort_by_key(|row| Reverse(row.state));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(server: &str, transport: &str, state: RelayState) -> RelayOverview {
        RelayOverview {
            pool: "default".into(),
            server: server.into(),
            state,
            transport: transport.into(),
            binding_us: Some(400),
            allocate_us: Some(900),
            cause: String::new(),
        }
    }

    #[test]
    fn a_relay_is_one_row_with_what_each_agent_makes_of_it_and_the_worst_comes_first() {
        let agent = |name: &str| name.parse().unwrap();
        let told = vec![
            (
                agent("a"),
                Ok(vec![
                    found("turn:1", "udp", RelayState::Good),
                    found("turn:1", "tcp", RelayState::Good),
                    found("turn:2", "udp", RelayState::Good),
                ]),
            ),
            (agent("b"), Ok(vec![found("turn:2", "udp", RelayState::Withheld)])),
            (agent("c"), Ok(Vec::new())),
        ];
        let rows = rows(told);
        let names: Vec<_> = rows.iter().map(|row| (row.server.as_str(), row.state)).collect();
        assert_eq!(names, [("turn:2", RelayVerdict::Withheld), ("turn:1", RelayVerdict::Good)]);
        let agents: Vec<_> =
            rows[0].agents.iter().map(|at| (at.agent.as_str(), at.state)).collect();
        assert_eq!(agents, [("a", RelayVerdict::Good), ("b", RelayVerdict::Withheld)]);
        let ways: Vec<_> =
            rows[1].agents[0].transports.iter().map(|way| way.transport.as_str()).collect();
        assert_eq!(ways, ["udp", "tcp"]);
    }

    #[test]
    fn an_agent_that_does_not_answer_is_shown_before_all_relays_with_the_reason() {
        let agent = |name: &str| name.parse().unwrap();
        let told = vec![
            (agent("a"), Err("no answer in time".to_owned())),
            (agent("b"), Ok(vec![found("turn:1", "udp", RelayState::Withheld)])),
            (agent("c"), Err("it is not connected".to_owned())),
        ];
        let rows = rows(told);
        let names: Vec<_> = rows.iter().map(|row| (row.server.as_str(), row.state)).collect();
        assert_eq!(names, [("", RelayVerdict::Silent), ("turn:1", RelayVerdict::Withheld)]);
        let silent: Vec<_> =
            rows[0].agents.iter().map(|at| (at.agent.as_str(), at.cause.as_str())).collect();
        assert_eq!(silent, [("a", "no answer in time"), ("c", "it is not connected")]);
        assert!(rows[0].agents.iter().all(|at| at.transports.is_empty()));
        assert_eq!(rows[1].agents[0].cause, "");
    }
}
