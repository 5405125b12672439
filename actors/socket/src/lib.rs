//! A WebSocket that carries signals between the log and whoever is at its other end: a client at a
//! gateway, an instance at an agent.
//!
//! No actor: [`open`] upgrades a request, and what the caller then runs belongs to that request.
//! The log is asked through the bridge. A unit that fails loses the socket and nothing else: what
//! was acknowledged is in the log, and whoever kept a cursor goes on anywhere.

mod close;
mod connection;
mod envelope;
#[doc(hidden)]
pub mod fuzzing;
mod metrics;
mod relay;
mod socket_limit;
mod upgrade_body;
mod write_limit;

pub use close::CloseCause;
pub use connection::{SocketReceiver, SocketSender, close, keep_alive, open, open_for};
pub use envelope::FrameFormat;
pub use metrics::SocketMetrics;
pub use relay::SignalRelay;
pub use socket_limit::{SocketLimit, SocketPlace};
pub use write_limit::WriteLimiter;

pub use actix_ws::CloseCode;
pub use stream_bridge::SignalConnection;
