//! How an agent is, as it says itself when a gateway asks for the console.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The state of an agent, the answer to
/// [`AgentOp::Overview`](crate::subjects::AgentOp::Overview). Members of later versions are
/// optional.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentOverview {
    /// Sessions that it serves or launches.
    #[serde(default)]
    pub sessions: u32,
    /// Sessions that it takes at most.
    #[serde(default)]
    pub places: u32,
    /// Whatever it depends on: `ok`, or why that is away.
    #[serde(default)]
    pub dependencies: BTreeMap<String, String>,
    #[serde(default)]
    pub actors: Vec<ActorOverview>,
    /// What only an operator can settle, a sentence each.
    #[serde(default)]
    pub alerts: Vec<String>,
    #[serde(default)]
    pub draining: bool,
    /// How many sessions an agent that drains has still to hand over.
    #[serde(default)]
    pub left: u32,
    /// Seconds until an agent that drains ends, at the latest; `None` for one that stays.
    #[serde(default)]
    pub ends_in_s: Option<u64>,
    /// Whether it takes orders to drain over the network.
    #[serde(default)]
    pub remote_drain: bool,
}

/// One actor of an agent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ActorOverview {
    pub name: String,
    /// `running`, `backoff`, `escalated` or `stopped`.
    pub state: String,
    /// How often it was built again since the process started.
    #[serde(default)]
    pub restarts: u64,
    /// Why it failed last, if it ever did.
    #[serde(default)]
    pub last_failure: Option<String>,
}

/// Orders an agent to drain and stay, or takes the order back.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DrainAgent {
    /// Whether it is to drain from now on.
    pub drain: bool,
    /// Also when no other agent of its cluster is there to take its sessions.
    #[serde(default)]
    pub force: bool,
    /// From this second on, by the clock of the store, it may not be carried out any more: whoever
    /// gave it was told that the agent does not answer.
    pub until: Timestamp,
}

/// What became of an order to drain.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainOutcome {
    /// The order holds, or is taken back.
    Done,
    /// An operator of its machine has ordered the agent to drain and end.
    Ending,
    /// No other agent of its cluster takes sessions.
    LastOne,
    /// The agent takes no such orders.
    NotAllowed,
    /// There was no order to take back.
    NotDraining,
}
