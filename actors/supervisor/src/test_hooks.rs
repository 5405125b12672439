//! What tests override in the policies.

use std::sync::atomic::AtomicBool;

/// Shared by a supervisor and all its actors.
#[derive(Default)]
pub(crate) struct TestHooks {
    /// Every failure is answered by an immediate restart; none is escalated.
    pub(crate) always_restart: AtomicBool,
    /// No restart waits for its backoff.
    pub(crate) no_backoff: AtomicBool,
}
