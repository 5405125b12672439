//! What the users of an actor see when it fails, whatever its shape and whatever the failure.

mod contents;
mod counter;
mod escalation;
mod failures;
mod readiness;
mod restart;
mod retry;
mod shutdown;
mod thread;
mod wedge;
