//! Where things are found on NATS: subjects, buckets and the signal stream.

use crate::{AgentId, Direction, SessionId};

/// Launch requests of AMS arrive here on behalf of an agent; the name is public (`contract.md` 2.2).
pub const GATEWAY_SESSIONS: &str = "gateway.sessions";

/// The queue group in which the gateways share that.
pub const GATEWAYS: &str = "gateways";

/// The stream that keeps signals.
pub const SIGNALS: &str = "signals";

/// What the signal stream takes in.
pub const ALL_SIGNALS: &str = "stream.v1.signal.*.*";

/// What the server puts before the subject of a stored message when it republishes it.
pub const LIVE: &str = "live";

/// A key-value bucket.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Bucket {
    /// Service accounts, by name.
    Accounts,
    /// Presence of agents, by agent id; in memory, gone after 15 s of silence.
    Agents,
    Clients,
    /// Sealed keys, by role.
    Keys,
    /// Revoked token ids.
    Revoked,
    /// One document per session.
    Sessions,
    /// Share links.
    Shares,
}

impl Bucket {
    pub const ALL: [Self; 7] = [
        Self::Accounts,
        Self::Agents,
        Self::Clients,
        Self::Keys,
        Self::Revoked,
        Self::Sessions,
        Self::Shares,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Agents => "agents",
            Self::Clients => "clients",
            Self::Keys => "keys",
            Self::Revoked => "revoked",
            Self::Sessions => "sessions",
            Self::Shares => "shares",
        }
    }
}

/// Requests to one agent to launch a session.
pub fn launch(agent: &AgentId) -> String {
    format!("stream.v1.agent.{agent}.launch")
}

/// Everything that is asked of the owner of `session`.
pub fn session_requests(session: &SessionId) -> String {
    format!("stream.v1.session.{session}.*")
}

/// Requests to the owner of `session` for fresh ICE servers.
pub fn ice(session: &SessionId) -> String {
    format!("stream.v1.session.{session}.ice")
}

/// Tells the owner of `session` that a client joined and asks for its ICE servers.
pub fn join(session: &SessionId) -> String {
    format!("stream.v1.session.{session}.join")
}

/// Asks the owner of `session` to end it.
pub fn terminate(session: &SessionId) -> String {
    format!("stream.v1.session.{session}.terminate")
}

/// The signals of `session` in one direction.
pub fn signal(session: &SessionId, direction: Direction) -> String {
    format!("stream.v1.signal.{session}.{direction}")
}
