//! A WebSocket that carries signals between the log and whoever is at its other end: a client at a
//! gateway, an instance at an agent.
//!
//! No actor: [`open`] upgrades a request, and what the caller then runs belongs to that request.
//! The log is asked through the bridge. A unit that fails loses the socket and nothing else: what
//! was acknowledged is in the log, and whoever kept a cursor goes on anywhere.

mod carrier;
mod end;
mod envelope;
mod line;
mod patience;

pub use carrier::Carrier;
pub use end::End;
pub use envelope::Frames;
pub use line::{Ears, Mouth, close, keep_alive, open, open_for};
pub use patience::persist;

pub use actix_ws::CloseCode;
pub use stream_bridge::SignalConnection;
