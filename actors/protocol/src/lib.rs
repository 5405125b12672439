//! The words on the wire: ids, subjects, documents and bodies that the programs exchange.
//!
//! No I/O and no decisions: every other crate may use this one, it uses none of them. The
//! [`manual`] says what the words mean and how the units that exchange them work together.

mod adb;
mod agent_endpoint;
mod agent_overview;
mod ams_instance;
mod capabilities;
mod catalogue;
mod commands;
mod error_chain;
#[cfg(any(test, feature = "test-util"))]
mod fixtures;
mod http;
mod ice;
mod ids;
mod json;
mod kept_instance;
pub mod manual;
mod permissions;
mod presence;
mod printable;
mod random;
mod refusal;
mod relay_overview;
mod requests;
mod session;
mod signal;
mod signal_peer;
mod signal_quota;
pub mod subjects;
mod timeline;
mod timestamp;
mod unknown_members;
mod userdata;
mod versioned;

pub use adb::{AdbConnection, AdbConnections, AdbPeer};
pub use agent_endpoint::AgentEndpoint;
pub use agent_overview::{ActorOverview, AgentOverview, DrainAgent, DrainOutcome};
pub use ams_instance::AmsInstance;
pub use capabilities::{Capabilities, Capability};
pub use catalogue::CataloguePage;
pub use commands::{ClientReport, ClientState, Commands, Report, ReportedStatus, Signaling};
pub use error_chain::error_chain;
pub use http::{Failure, Success};
pub use ice::IceServer;
pub use ids::{AgentId, IdError, InstanceName, SessionId, ShareId, SignalId};
pub use json::{FromObject, JsonText, NestingError, WholeNumber};
pub use kept_instance::KeptInstance;
pub use permissions::{Op, TokenKind};
pub use presence::{Application, Presence};
pub use printable::printable;
#[cfg(feature = "simulation")]
pub use random::draw_from_seed;
pub use refusal::{Refusal, RefusalCode};
pub use relay_overview::{RelayOverview, RelayState};
pub use requests::{
    AmsSessionCreated, ClientIce, CreateAmsSession, Empty, IceTerms, Launch, Reply, Terminate,
};
pub use session::{
    Cause, Client, Desired, DesiredState, Idle, Maker, OnConflict, Origin, Request, Role, Screen,
    ScreenError, SessionDocument, Status,
};
pub use signal::{
    Cursor, CursorError, Direction, LoggedSignal, MAX_SIGNAL_BYTES, NewSignal, Signal, SignalError,
    SignalPage, StoredSignal,
};
pub use signal_peer::SignalPeer;
pub use signal_quota::SignalQuota;
pub use timeline::{Hop, NO_ROOM, TimelineEntry};
pub use timestamp::{Timestamp, TimestampError};
pub use userdata::{MAX_USERDATA_BYTES, Userdata};
pub use versioned::{VERSION, Versioned};
