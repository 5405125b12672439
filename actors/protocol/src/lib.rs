//! The words on the wire: ids, subjects, documents and bodies that the programs exchange.
//!
//! No I/O and no decisions: every other crate may use this one, it uses none of them. What the
//! public clients fix is taken from the published API of the stack (`contract.md`); what runs
//! between our own programs carries `"v":1` and ignores members it does not know.

mod agent;
mod allowance;
mod ams_instance;
mod commands;
mod http;
mod ice;
mod ids;
pub mod openapi;
mod ops;
mod refusal;
mod requests;
mod session;
mod signal;
pub mod subjects;
mod userdata;
mod version;

pub use agent::{Application, Presence};
pub use allowance::Allowance;
pub use ams_instance::AmsInstance;
pub use commands::{ClientReport, ClientState, Commands, Report, ReportedStatus, Signaling};
pub use http::{Failure, Success};
pub use ice::IceServer;
pub use ids::{AgentId, IdError, InstanceName, SessionId, ShareId, SignalId};
pub use ops::{Op, TokenKind};
pub use refusal::{Code, Refusal};
pub use requests::{Ask, ClientIce, Initiate, Initiated, Launch, Reply, Terminate};
pub use session::{
    Cause, Client, Desired, DesiredState, Idle, OnConflict, Origin, Request, Role, Screen,
    ScreenError, SessionDocument, Status,
};
pub use signal::{
    Cursor, CursorError, Direction, LoggedSignal, MAX_SIGNAL_BYTES, Page, Posted,
    SIGNAL_BYTES_A_MINUTE, SIGNALS_A_MINUTE, Signal, SignalError, StoredSignal,
};
pub use userdata::{MAX_USERDATA_BYTES, Userdata};
pub use version::{VERSION, Versioned};
