use serde::{Deserialize, Serialize};

use crate::AgentId;

/// What an agent says of itself every few seconds. An agent that stops counts as gone; see
/// [presence](crate::manual::state#presence-and-lease).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Presence {
    pub agent: AgentId,
    pub region: String,
    /// The AMS cluster; empty while AMS has not been reached.
    pub cluster: String,
    /// The version of the [catalogue](crate::CataloguePage) that says what this agent can launch.
    #[serde(default)]
    pub catalogue: String,
    /// How many more sessions this agent takes.
    pub capacity: u32,
    pub draining: bool,
    /// Why this agent can launch nothing now; `None` if it can.
    #[serde(default)]
    pub unavailable: Option<String>,
    /// Version of the program.
    pub version: String,
    /// URLs by which a browser learns how far this agent's relays are, at most
    /// [`Presence::MOST_STUN_SERVERS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stun_servers: Vec<String>,
}

impl Presence {
    /// More tell nothing more.
    pub const MOST_STUN_SERVERS: usize = 4;
}

/// An application that can be streamed.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Application {
    pub name: String,
}
