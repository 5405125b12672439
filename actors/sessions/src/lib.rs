//! The sessions of this agent: claimed, launched, attached, ended.
//!
//! Asked by `api` on behalf of instances, and by gateways through `bridge`. Asks `tokens`, `turn`,
//! `ams` and `bridge`. The truth about a session is its document in NATS, and the pure functions of
//! `session.rs` decide what happens to it. The actor holds what it has read and seen on the way:
//!
//! | part | on restart | why |
//! |---|---|---|
//! | `SessionCache` | rebuilt | all documents are read again; a wrong one is gone |
//! | `Reconciler` (sightings, alerts) | rebuilt | a deletion is only delayed; alerts come back with the next sweeps |
//! | `FailureDetector` | rebuilt | a takeover is only delayed, until an agent is missed for half a lease again |
//! | loops, timers, the mark of an expired lease | rebuilt | a restart begins with a sweep |
//! | `ServedSessions` | kept, confirmed again | the bridge holds the subscriptions and launches run on; each session is subscribed again at its next look, the index of instances is made anew by the next sweep, whose instance is kept is noted again, and what this agent does not own is let go |
//! | `WriteLimiter` | kept, shared with the handle | a crash must not grant every session another minute's signals; a wrong count lasts a minute |
//! | `Endpoints` | kept, shared with the handle | what other agents said of themselves; read again four times per lease |
//! | `Arrivals` | kept, shared with the handle | what is said of an instance that does not come; nothing is decided by it |
//! | `PresenceTracker` | kept | while AMS is away a restart must not silence the agent, which would cost it its sessions; each good presence replaces it |
//! | `SweepTurn` | kept | a sweep outlives the actor that began it; an actor that keeps failing must not read the whole store each time |
//!
//! Answers in progress outlive a failure and keep the parts that they were given. The handle
//! [`Sessions`] holds the mailbox, the bridge, the `WriteLimiter`, the `Endpoints` and the
//! `Arrivals`, and nothing else.

mod actor;
mod alerts;
mod ams_initiated;
mod arrivals;
mod catalogue;
mod config;
mod context;
mod endpoint_publisher;
mod endpoints;
mod error;
mod failure_detector;
mod handle;
mod handover;
mod ice_renewal;
mod idle;
mod kept_instance;
mod launch;
mod lost_instances;
mod metrics;
mod presence;
mod processing;
mod reconcile;
mod reconciler;
mod reports;
mod requests;
mod served_sessions;
mod session;
mod session_cache;
mod shared;
mod signals;
mod sweep;
mod takeover;
mod termination;
mod transition;

pub use alerts::Alert;
pub use arrivals::Arrivals;
pub use config::Config;
pub use context::Dependencies;
pub use error::SessionsError;
pub use handle::{KnownCommands, Sessions};
