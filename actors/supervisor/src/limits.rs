use std::time::Duration;

/// How much an actor takes on, and how long anything may take. What exceeds a limit of an answer is
/// told so within an eighth of that limit more.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages queued or in work; one more is refused as busy.
    pub mailbox_capacity: usize,
    /// Answers in progress at the same time; further ones wait for a slot. On a thread of its own
    /// a worker has one at a time, whatever this says.
    pub max_concurrent: usize,
    /// An answer that takes longer is cancelled and counts as a failure.
    pub handler_timeout: Duration,
    /// An asker waits no longer than this, queueing included.
    pub ask_timeout: Duration,
    /// A worker that takes longer to become ready has failed.
    pub start_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mailbox_capacity: 1024,
            max_concurrent: 256,
            handler_timeout: Duration::from_secs(20),
            ask_timeout: Duration::from_secs(25),
            start_timeout: Duration::from_secs(30),
        }
    }
}
