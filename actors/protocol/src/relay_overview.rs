//! What an agent finds of the relays when a gateway asks for the console.

use serde::{Deserialize, Serialize};

/// What one agent found of one relay over one of its transports, in the answer to
/// [`AgentOp::Relays`](crate::subjects::AgentOp::Relays).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RelayOverview {
    pub pool: String,
    /// The relay's first URL.
    pub server: String,
    pub state: RelayState,
    /// `udp`, `tcp` or `tls`.
    pub transport: String,
    /// The round trip of a STUN binding, in microseconds; `None` when it failed.
    #[serde(default)]
    pub binding_us: Option<u64>,
    /// From the first packet of an allocation to its last, in microseconds; `None` when it failed.
    #[serde(default)]
    pub allocate_us: Option<u64>,
    /// Why one of them failed; empty when both succeeded.
    #[serde(default)]
    pub cause: String,
}

/// What an agent makes of a relay, the best first.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RelayState {
    /// It is handed out.
    Good,
    /// An operator has taken it out.
    Drained,
    /// It has failed its probes, and is not handed out.
    Withheld,
}
