//! What a session wants of its instance, and what the instance says of itself.

use serde::{Deserialize, Serialize};

use crate::{
    AdbPeer, AgentEndpoint, Capabilities, Client, DesiredState, SessionDocument, WholeNumber,
};

/// What the session wants of its instance now. Level-triggered, so that an instance which missed
/// states in between acts on the present one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Commands {
    /// Grows with every change; the instance repeats it as `after`.
    pub revision: u64,
    pub generation: u64,
    pub signaling: Signaling,
    pub client: Option<Client>,
    /// Grows when the instance is to fetch fresh ICE servers.
    pub ice_renewal: u64,
    pub desired: DesiredState,
    /// Who uses ADB now, each a peer of its own. One that is not named any more, or is named with
    /// another generation, is to be cut off.
    #[serde(default)]
    pub adb: Vec<AdbPeer>,
    /// Where agents of the cluster are reached, the one that answers first.
    #[serde(default)]
    pub agents: Vec<AgentEndpoint>,
    /// A name for what `agents` say; the instance repeats it as `agents`, and hears at once when
    /// there is something else to say.
    #[serde(default)]
    pub agents_version: String,
}

impl Commands {
    /// Derives the commands from a document and the revision it was read at. They name no agents.
    pub fn of(document: &SessionDocument, revision: u64) -> Self {
        let over = document.status.is_final() || document.desired.state == DesiredState::Terminated;
        let open = !over && document.desired.client.is_some();
        Self {
            revision,
            generation: document.generation,
            signaling: if open { Signaling::Open } else { Signaling::Closed },
            client: document.desired.client,
            ice_renewal: document.ice_renewal,
            adb: if over { Vec::new() } else { document.adb.peers() },
            desired: if over { DesiredState::Terminated } else { DesiredState::Running },
            agents: Vec::new(),
            agents_version: String::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Signaling {
    Closed,
    Open,
}

/// What an instance reports of the client of one generation. Only the instance knows, because
/// clients close their socket when the stream connects.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClientReport {
    pub client: ClientState,
    #[serde(deserialize_with = "WholeNumber::deserialize_number")]
    #[cfg_attr(feature = "schema", schemars(range(max = WholeNumber::MAX)))]
    pub generation: u64,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClientState {
    Connected,
    Disconnected,
}

/// What an instance reports of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "InstanceReport"))]
pub struct Report {
    pub status: ReportedStatus,
    #[serde(default)]
    pub message: String,
    /// What it can do; a report without it changes nothing about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReportedStatus {
    Error,
    Running,
    Stopped,
}
