//! What the users of an actor see when it fails, whatever its mode and whatever the failure.

mod contents;
mod counter;
mod escalation;
mod failures;
mod one_thread;
mod restart;
mod retry;
mod shutdown;
mod wedge;
