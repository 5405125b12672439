//! Actors whose mailbox outlives a crash of their state.
//!
//! An actor author writes a [`Worker`] (the state), one [`Handler`] per message, and a handle that
//! wraps a [`Mailbox`]. [`Supervisor::guard`] or [`Supervisor::host`] runs it on a thread of its
//! own and rebuilds the state from its factory whenever it fails:
//!
//! - what is queued stays queued and is answered by the new state;
//! - the asker of the message in hand gets [`Unavailable::Crashed`];
//! - the first restarts are immediate, then the pauses grow ([`Restart`]).
//!
//! The two shapes differ in what else a failure takes along. A *guard* lets the panic unwind the
//! whole context: the actor's other answers in progress are cancelled too. A *host* catches it
//! around the one handler: other answers in progress, which own what they need, run on. Use a host
//! where a half-done answer matters.
//!
//! Mailboxes are bounded here, by a count of our own: actix bounds each clone of an address
//! separately and `do_send` not at all. A full mailbox refuses at once with [`Unavailable::Busy`].
//!
//! Asked by every actor crate; asks nobody. See also: `actix::Supervisor`, which restarts nothing
//! that panics and is not used here.

mod failure;
mod guard;
mod host;
mod mailbox;
mod restart;
mod status;
mod supervisor;
mod worker;

pub use failure::Unavailable;
pub use mailbox::{Mailbox, Recipient, bare};
pub use restart::Restart;
pub use status::{ActorState, ActorStatus, LastFailure};
pub use supervisor::{Limits, Supervisor, detached};
pub use worker::{Handler, Me, Reply, Worker};
