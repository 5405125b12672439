//! Sessions, as clients create, list, join and end them.

pub(crate) mod adb;
pub(crate) mod client_slot;
pub(crate) mod deletion;
pub(crate) mod endpoints;
pub(crate) mod idempotency;
pub(crate) mod join;
pub(crate) mod launch;
pub(crate) mod listing;
pub(crate) mod request;
pub(crate) mod search;
pub(crate) mod socket_url;
pub(crate) mod termination;

use stream_protocol::{IceServer, SessionDocument};

/// A session with all that a new client of it needs.
pub(crate) struct ClientSession {
    pub(crate) document: SessionDocument,
    pub(crate) ice_servers: Vec<IceServer>,
    /// The URL of its signaling socket.
    pub(crate) url: String,
}
