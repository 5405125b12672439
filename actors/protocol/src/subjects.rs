//! Where things are found on NATS: subjects, buckets and the signal stream.
//!
//! What is asked of agents has a type, [`AgentRequest`], that prints its subject and parses it
//! back. The names are part of the [wire contract](crate::manual::wire#nats).

use std::fmt;
use std::str::FromStr;

use crate::{AgentId, Direction, SessionId, SignalPeer};

/// Agents ask here for the session of an instance that AMS launched by itself. The name is public:
/// see [the wire contract](crate::manual::wire#sessions-that-ams-starts).
pub const GATEWAY_SESSIONS: &str = "gateway.sessions";

/// The queue group in which the gateways share [`GATEWAY_SESSIONS`].
pub const GATEWAYS: &str = "gateways";

/// The stream that keeps signals.
pub const SIGNALS: &str = "signals";

/// The subjects of [`SIGNALS`]: every [peer](SignalPeer), both directions.
pub const ALL_SIGNALS: &str = "stream.v1.signal.*.*";

/// The stream into which the server copies the last signal of each subject, so that one that the
/// log has dropped can be told from one that never was.
pub const SIGNAL_ENDS: &str = "signal_ends";

/// The stream that keeps what happened to sessions.
pub const TIMELINE: &str = "timeline";

/// The subjects of [`TIMELINE`]: every session, and every unit.
pub const ALL_TIMELINES: &str = "stream.v1.timeline.*";

/// The server puts this word before the subject of a stored message when it republishes it.
pub const LIVE: &str = "live";

/// A key-value bucket.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Bucket {
    /// Service accounts, by name.
    Accounts,
    /// Presence of agents, by agent id; in memory. An entry expires `lease_s` (10 s by default)
    /// after its agent wrote it last.
    Agents,
    /// What each agent can launch, in [pages](crate::CataloguePage).
    Catalogues,
    /// The lease of the client of each session that refuses a second one
    /// ([`OnConflict::Reject`](crate::OnConflict::Reject)), by session id; in memory.
    Clients,
    /// Where instances reach each agent, by agent id; sealed.
    Endpoints,
    /// Sealed keys of the agents: those of tokens and TLS session tickets, and TURN secrets; and
    /// how far the audit log of each is.
    KeysAgent,
    /// Sealed keys of the gateways: those of tokens and TLS session tickets; and how far the audit
    /// log of each is.
    KeysGateway,
    /// Revoked token ids.
    Revoked,
    /// One document per session, by id.
    Sessions,
    /// What operators have changed of the gateways' configuration, in the one record
    /// [`SETTINGS_KEY`].
    Settings,
    /// Share links, by id.
    Shares,
}

/// The key of the record in [`Bucket::Settings`].
pub const SETTINGS_KEY: &str = "gateway";

impl Bucket {
    pub const ALL: [Self; 11] = [
        Self::Accounts,
        Self::Agents,
        Self::Catalogues,
        Self::Clients,
        Self::Endpoints,
        Self::KeysAgent,
        Self::KeysGateway,
        Self::Revoked,
        Self::Sessions,
        Self::Settings,
        Self::Shares,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Agents => "agents",
            Self::Catalogues => "catalogues",
            Self::Clients => "clients",
            Self::Endpoints => "endpoints",
            Self::KeysAgent => "keys_agent",
            Self::KeysGateway => "keys_gateway",
            Self::Revoked => "revoked",
            Self::Sessions => "sessions",
            Self::Settings => "settings",
            Self::Shares => "shares",
        }
    }
}

/// The bucket in which 0.1 kept the sealed keys of both services. It is read, record by record,
/// where a bucket of its own does not hold one yet, and never written.
pub const FORMER_KEYS: &str = "keys";

/// Who speaks over NATS. What each needs there is what a server has to permit; the reference
/// `nats-server-accounts.conf` permits no more.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum NatsUser {
    Agent,
    Gateway,
    /// Whoever looks after a deployment, and tests: everything.
    Operator,
}

impl NatsUser {
    /// Returns the buckets that this user opens, and creates when they are missing.
    pub fn buckets(self) -> &'static [Bucket] {
        use Bucket::{
            Accounts, Agents, Catalogues, Clients, Endpoints, KeysAgent, KeysGateway, Revoked,
            Sessions, Settings, Shares,
        };
        match self {
            Self::Agent => &[Agents, Catalogues, Endpoints, KeysAgent, Revoked, Sessions],
            Self::Gateway => &[
                Accounts,
                Agents,
                Catalogues,
                Clients,
                KeysGateway,
                Revoked,
                Sessions,
                Settings,
                Shares,
            ],
            Self::Operator => &Bucket::ALL,
        }
    }

    /// Returns what the subjects of answers to this user begin with. Each has its own, so that none
    /// can listen to what another one reads.
    pub fn inbox(self) -> &'static str {
        match self {
            Self::Agent => "_INBOX.agent",
            Self::Gateway => "_INBOX.gateway",
            Self::Operator => "_INBOX",
        }
    }
}

/// A request to an agent, named by its subject.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum AgentRequest {
    /// To do something itself.
    Agent { agent: AgentId, op: AgentOp },
    /// To do something with a session; the agent that owns it listens.
    Session { session: SessionId, op: SessionOp },
}

/// What an agent is asked to do itself.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AgentOp {
    /// Leave its sessions to others and stay, or take none away any more.
    Drain,
    /// Claim and launch a session that a gateway has stored.
    Launch,
    /// Say how it is.
    Overview,
    /// Try the relays, and say how they are.
    Relays,
}

impl AgentOp {
    pub const ALL: [Self; 4] = [Self::Drain, Self::Launch, Self::Overview, Self::Relays];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Launch => "launch",
            Self::Overview => "overview",
            Self::Relays => "relays",
        }
    }
}

/// What the owner of a session is asked to do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SessionOp {
    /// Mint fresh ICE servers for the client.
    Ice,
    /// Look what AMS says of the instance: another agent has noticed that it is lost.
    Instance,
    /// Take notice of a client that joined, and mint its ICE servers.
    Join,
    /// End the session.
    Terminate,
}

impl SessionOp {
    pub const ALL: [Self; 4] = [Self::Ice, Self::Instance, Self::Join, Self::Terminate];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ice => "ice",
            Self::Instance => "instance",
            Self::Join => "join",
            Self::Terminate => "terminate",
        }
    }
}

impl fmt::Display for AgentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent { agent, op } => write!(f, "stream.v1.agent.{agent}.{}", op.as_str()),
            Self::Session { session, op } => {
                write!(f, "stream.v1.session.{session}.{}", op.as_str())
            }
        }
    }
}

impl FromStr for AgentRequest {
    type Err = SubjectError;

    fn from_str(subject: &str) -> Result<Self, SubjectError> {
        let unknown = || SubjectError(subject.chars().take(128).collect());
        let parts: Vec<_> = subject.split('.').collect();
        match parts[..] {
            ["stream", "v1", "agent", agent, op] => {
                let op = AgentOp::ALL.into_iter().find(|known| known.as_str() == op);
                let agent = agent.parse().map_err(|_| unknown())?;
                Ok(Self::Agent { agent, op: op.ok_or_else(unknown)? })
            }
            ["stream", "v1", "session", session, op] => {
                let op = SessionOp::ALL.into_iter().find(|known| known.as_str() == op);
                let session = session.parse().map_err(|_| unknown())?;
                Ok(Self::Session { session, op: op.ok_or_else(unknown)? })
            }
            _ => Err(unknown()),
        }
    }
}

/// A subject names no request to an agent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no such request: {0}")]
pub struct SubjectError(String);

/// Returns the subject on which `agent` is asked for `op`.
pub fn agent(agent: &AgentId, op: AgentOp) -> String {
    AgentRequest::Agent { agent: agent.clone(), op }.to_string()
}

/// Returns the subject on which the owner of `session` is asked for `op`.
pub fn session(session: &SessionId, op: SessionOp) -> String {
    AgentRequest::Session { session: session.clone(), op }.to_string()
}

/// Returns the wildcard that covers every request to the owner of `session`.
pub fn session_requests(session: &SessionId) -> String {
    format!("stream.v1.session.{session}.*")
}

/// Returns the subject of the signals between an instance and `peer` in one direction.
pub fn signal(peer: impl Into<SignalPeer>, direction: Direction) -> String {
    format!("stream.v1.signal.{}.{direction}", peer.into())
}

/// Returns the subject of what happened to `session`.
pub fn timeline(session: &SessionId) -> String {
    format!("stream.v1.timeline.{session}")
}

/// Returns the subject of what happened to the unit that calls itself `name`, whatever sessions it
/// has; no session has it.
pub fn unit_timeline(name: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let name: String = name.chars().map(plain).collect();
    format!("stream.v1.timeline.unit-{name}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request() -> impl Strategy<Value = AgentRequest> {
        let op = prop::sample::select(AgentOp::ALL.to_vec());
        let agent = ("[a-z0-9-]{1,64}", op).prop_map(|(agent, op)| AgentRequest::Agent {
            agent: agent.parse().expect("an agent"),
            op,
        });
        let op = prop::sample::select(SessionOp::ALL.to_vec());
        let session = ("[a-z0-9]{20}", op).prop_map(|(session, op)| AgentRequest::Session {
            session: session.parse().expect("a session"),
            op,
        });
        prop_oneof![agent, session]
    }

    proptest! {
        #[test]
        fn a_request_survives_its_subject(request in request()) {
            prop_assert_eq!(request.to_string().parse(), Ok(request));
        }

        #[test]
        fn the_owner_hears_every_request_to_its_session(
            session in "[a-z0-9]{20}",
            op in prop::sample::select(SessionOp::ALL.to_vec()),
        ) {
            let id: SessionId = session.parse().expect("a session");
            let wildcard = session_requests(&id);
            let heard = wildcard.strip_suffix('*').expect("a wildcard");
            prop_assert!(super::session(&id, op).starts_with(heard));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = text.parse::<AgentRequest>();
        }
    }

    #[test]
    fn every_peer_of_a_session_has_subjects_of_its_own_in_the_log() {
        let session: SessionId = "abcdefghij0123456789".parse().expect("a session");
        let share = "0123456789abcdefghij".parse().expect("a share");
        let client = signal(&session, Direction::ToClient);
        assert_eq!(client, "stream.v1.signal.abcdefghij0123456789.to_client");
        let adb = signal(SignalPeer::adb(&session, &share), Direction::ToClient);
        let expected = "stream.v1.signal.abcdefghij0123456789-0123456789abcdefghij.to_client";
        assert_eq!(adb, expected);
        assert_eq!(adb.split('.').count(), ALL_SIGNALS.split('.').count());
    }

    #[test]
    fn what_is_no_request_is_refused_by_name() {
        for subject in [
            "",
            "stream.v1.agent.a.launch.now",
            "stream.v1.agent.A.launch",
            "stream.v1.session.short.join",
            "stream.v1.session.abcdefghij0123456789.dance",
            "stream.v2.session.abcdefghij0123456789.join",
        ] {
            let error = subject.parse::<AgentRequest>().expect_err("it is none");
            assert_eq!(error.to_string(), format!("no such request: {subject}"));
        }
    }
}
