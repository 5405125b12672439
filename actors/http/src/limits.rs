//! What a connection may cost, and how long each step may take.

use std::time::Duration;

use crate::connection_limit::ConnectionLimiter;

/// Deadlines and caps of a server.
#[derive(Clone)]
pub struct Limits {
    /// The time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// The time for the line and the headers of a request.
    pub head_timeout: Duration,
    /// How long a connection stays open between two requests. Longer than any long-poll, so that
    /// instances keep theirs.
    pub keep_alive: Duration,
    /// The time for the TLS close of a connection.
    pub disconnect_timeout: Duration,
    /// The time that requests in hand get when the server stops.
    pub shutdown_timeout: Duration,
    /// Connections per worker thread; more wait to be accepted.
    pub max_connections: usize,
    /// Handshakes at a time per worker thread: each is a private-key operation.
    pub max_handshakes: usize,
    /// Connections per address; `None` counts nobody.
    pub connections: Option<ConnectionLimiter>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            disconnect_timeout: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(5),
            max_connections: 10_000,
            max_handshakes: 256,
            connections: None,
        }
    }
}
