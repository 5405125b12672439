//! How much an actor takes on.

use std::time::Duration;

/// How many messages an actor takes, and how long each may take. Timeouts are coarse: they fire up
/// to 12.5 % late.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages queued or in work; further ones are refused as busy. Default 1,024.
    pub mailbox_capacity: usize,
    /// Answers in progress at the same time; further ones wait for a slot. Default 256.
    pub max_concurrent: usize,
    /// How long an answer may be in progress; one that takes longer is cancelled and is a failure
    /// of the worker. Default 20 s.
    pub handler_timeout: Duration,
    /// How long an asker waits, queueing included. Default 25 s.
    pub ask_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mailbox_capacity: 1024,
            max_concurrent: 256,
            handler_timeout: Duration::from_secs(20),
            ask_timeout: Duration::from_secs(25),
        }
    }
}
