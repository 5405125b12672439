//! What lists, counts and shares need to know of a session.

use stream_protocol::{
    AdbConnections, AgentId, DesiredState, Maker, Origin, SessionDocument, SessionId, Status,
    Timestamp,
};

/// A session without what only its own agent and client need.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SessionSummary {
    pub(crate) id: SessionId,
    pub(crate) app: String,
    pub(crate) region: String,
    pub(crate) cluster: String,
    pub(crate) status: Status,
    /// Why it has this status; may be empty.
    pub(crate) message: String,
    pub(crate) joinable: bool,
    pub(crate) instance_id: Option<String>,
    /// `None` until an agent has claimed it.
    pub(crate) owner: Option<AgentId>,
    pub(crate) created_at: Timestamp,
    /// The account that asked for it; `None` when AMS did.
    pub(crate) made_by: Option<Maker>,
    /// Whether [lists](SessionDocument::is_listed) hold it that do not ask for its status.
    pub(crate) is_listed: bool,
    /// Whether it has not ended and nobody wants it to end.
    pub(crate) is_running: bool,
    /// Whether it has ended and no agent keeps an instance of ours for it.
    pub(crate) has_ended: bool,
    /// Of its client: counts those who came.
    pub(crate) generation: u64,
    /// Whether its instance is told of a client.
    pub(crate) has_client: bool,
    /// Who uses the ADB of its instance.
    pub(crate) adb: AdbConnections,
    /// Counts how often its ICE servers were renewed.
    pub(crate) ice_renewal: u64,
}

impl SessionSummary {
    pub(crate) fn of(document: SessionDocument) -> Self {
        let is_wanted = document.desired.state == DesiredState::Running;
        Self {
            is_listed: document.is_listed(),
            is_running: is_wanted && !document.status.is_final(),
            region: document.region().to_owned(),
            has_ended: has_ended(&document),
            generation: document.generation,
            has_client: document.desired.client.is_some(),
            ice_renewal: document.ice_renewal,
            message: document.last_cause().to_owned(),
            adb: document.adb,
            id: document.id,
            app: document.request.app,
            cluster: document.cluster,
            status: document.status,
            joinable: document.request.joinable,
            instance_id: document.instance_id,
            owner: document.owner,
            created_at: document.created_at,
            made_by: document.made_by,
        }
    }
}

/// Whether the session has ended and an agent keeps its instance. One that AMS launched by itself
/// is nobody's to delete once its session has ended.
pub(crate) fn is_kept_by_us(document: &SessionDocument) -> bool {
    document.kept_instance.is_some() && document.origin == Origin::Client
}

/// Whether the session has ended, and no agent keeps an instance of ours for it.
pub(crate) fn has_ended(document: &SessionDocument) -> bool {
    document.status.is_final() && !is_kept_by_us(document)
}
