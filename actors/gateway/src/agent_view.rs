//! The agents as operators see them: what each says of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::{self, AgentOp};
use stream_protocol::{ActorOverview, AgentOverview, Empty, Presence, Refusal};

use crate::placement;

/// How long an agent may take to answer.
const DEADLINE: Duration = Duration::from_millis(1_500);

/// So many agents are asked at the same time.
const AT_ONCE: usize = 64;

/// An agent, as operators see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Agent"))]
pub(crate) struct AgentView {
    name: String,
    region: String,
    /// The AMS cluster; empty while AMS has not been reached.
    cluster: String,
    version: String,
    state: AgentState,
    /// Why it is `silent` or `unavailable`; empty otherwise.
    cause: String,
    /// How many more sessions it takes.
    free: u32,
    /// Sessions that it serves or launches.
    sessions: u32,
    /// Sessions that it takes at most.
    places: u32,
    /// How many sessions an agent that drains has still to hand over.
    left: u32,
    /// Seconds until an agent that drains ends, at the latest; `null` for one that stays.
    ends_in_s: Option<u64>,
    /// Whether it takes orders to drain from here.
    remote_drain: bool,
    /// What it depends on: `ok`, or why that is away.
    dependencies: BTreeMap<String, String>,
    actors: Vec<ActorOverview>,
    /// What only an operator can settle, a sentence each.
    alerts: Vec<String>,
}

/// What an agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum AgentState {
    /// It takes sessions.
    Serving,
    /// It leaves its sessions to others, and takes none.
    Draining,
    /// It has left all its sessions to others, and takes none.
    Drained,
    /// It gives signs of life, and does not say how it is.
    Silent,
    /// It can launch nothing now.
    Unavailable,
}

impl AgentView {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Shows an agent that gives signs of life, with what it says of itself or why it does not.
    fn of(presence: Presence, told: Result<AgentOverview, String>) -> Self {
        let (told, silent) = match told {
            Ok(told) => (told, None),
            Err(why) => (AgentOverview::default(), Some(why)),
        };
        let state = match (&silent, &presence.unavailable) {
            (Some(_), _) => AgentState::Silent,
            (None, _) if told.draining && told.sessions == 0 => AgentState::Drained,
            (None, _) if told.draining => AgentState::Draining,
            (None, Some(_)) => AgentState::Unavailable,
            (None, None) => AgentState::Serving,
        };
        Self {
            name: presence.agent.to_string(),
            region: presence.region,
            cluster: presence.cluster,
            version: presence.version,
            state,
            cause: silent.or(presence.unavailable).unwrap_or_default(),
            free: presence.capacity,
            sessions: told.sessions,
            places: told.places,
            left: if told.draining { told.left } else { 0 },
            ends_in_s: told.ends_in_s,
            remote_drain: told.remote_drain,
            dependencies: told.dependencies,
            actors: told.actors,
            alerts: told.alerts,
        }
    }
}

/// Asks every agent that gives signs of life, and returns them by name.
///
/// # Errors
///
/// Refuses while NATS is away.
pub(crate) async fn ask_all(bridge: &Bridge) -> Result<Vec<AgentView>, Refusal> {
    let mut agents = placement::list(bridge).await?;
    agents.sort_by(|one, other| one.agent.cmp(&other.agent));
    let asked = agents.into_iter().map(|presence| ask(bridge, presence));
    Ok(stream::iter(asked).buffered(AT_ONCE).collect().await)
}

async fn ask(bridge: &Bridge, presence: Presence) -> AgentView {
    let subject = subjects::agent(&presence.agent, AgentOp::Overview);
    let told = bridge.ask::<_, AgentOverview>(subject, &Empty {}, DEADLINE).await;
    AgentView::of(presence, told.map_err(|error| silence(&error)))
}

/// Returns why an agent that gives signs of life does not answer.
pub(crate) fn silence(error: &BridgeError) -> String {
    match error {
        BridgeError::NoResponder => "it is not connected, or its release is older".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence() -> Presence {
        serde_json::from_str(
            r#"{"agent":"a","region":"eu","cluster":"c","capacity":3,"draining":false,
                "version":"1"}"#,
        )
        .unwrap()
    }

    fn state(presence: Presence, told: Result<AgentOverview, &str>) -> AgentState {
        AgentView::of(presence, told.map_err(str::to_owned)).state
    }

    #[test]
    fn what_an_agent_says_of_itself_counts_and_silence_is_shown() {
        let well = AgentOverview::default();
        let drains = AgentOverview { draining: true, sessions: 2, ..well.clone() };
        let ill = Presence { unavailable: Some("AMS is away".into()), ..presence() };
        assert_eq!(state(presence(), Ok(well.clone())), AgentState::Serving);
        assert_eq!(state(presence(), Ok(drains.clone())), AgentState::Draining);
        let drained = AgentOverview { sessions: 0, ..drains };
        assert_eq!(state(ill.clone(), Ok(drained)), AgentState::Drained);
        assert_eq!(state(ill.clone(), Ok(well)), AgentState::Unavailable);
        assert_eq!(state(ill.clone(), Err("no answer")), AgentState::Silent);
        assert_eq!(AgentView::of(ill.clone(), Ok(AgentOverview::default())).cause, "AMS is away");
        assert_eq!(AgentView::of(ill, Err("no answer".into())).cause, "no answer");
    }
}
