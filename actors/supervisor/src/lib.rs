//! Actors whose mailbox outlives a crash of their state.
//!
//! An actor author writes a [`Worker`] (the state), one [`Handler`] per message, and a handle that
//! wraps a [`Mailbox`]. A [`Supervisor`] runs it on a thread of its own and rebuilds the state from
//! its factory whenever it fails. What is a failure:
//!
//! - a panic: in a handler, at once or after an await, on a timer, in background work, in the
//!   factory itself;
//! - an error that the worker declares fatal ([`Me::fail`]);
//! - an answer that takes longer than [`Limits::handler`];
//! - a worker that does not get [ready](Worker::ready), or not within [`Limits::start`].
//!
//! What a restart keeps and loses:
//!
//! - what is queued stays queued and is answered by the new state;
//! - the asker of the message in hand gets [`Unavailable::Crashed`], or
//!   [`Unavailable::TimedOut`] if the answer took too long. If doing the message twice is as good
//!   as once ([`Handler::IDEMPOTENT`]), it is given to the new state instead, once;
//! - timers and background work of the old state end with it;
//! - other answers in progress depend on the shape.
//!
//! | shape | other answers in progress | a handler that blocks |
//! |---|---|---|
//! | [`guard`](Supervisor::guard) | are cancelled: their askers get `Crashed` | ends the process |
//! | [`host`](Supervisor::host) | run on, for they own what they need | ends the process |
//! | [`thread`](Supervisor::thread) | there are none: one message at a time | its thread is left behind |
//!
//! Use a host where a half-done answer matters, a thread only for calls that block and may be done
//! twice, a guard elsewhere.
//!
//! The first restarts are immediate, then the pauses grow ([`Restart`]); an actor that fails still
//! more often is parked, its mailbox kept, and its parent decides ([`Policy`]): it restarts that
//! actor, or also those started after it, in order. A [group](Supervisor::group) that has to do so
//! too often escalates in turn. At the root the program is told to stop ([`Supervisor::fatal`]); if
//! it has not within [`Watch::drain`], the supervisor's own thread ends the process with
//! [`EX_SOFTWARE`]. So it does when the thread of an actor is stuck, which nothing else can end.
//!
//! Mailboxes are bounded here, by a count of our own: actix bounds each clone of an address
//! separately and `do_send` not at all. A full mailbox refuses at once with [`Unavailable::Busy`].
//! Messages are `Sync` as well as `Send`: one that a stuck thread holds is given to the next.
//!
//! Asked by every actor crate; asks nobody. See also: `actix::Supervisor`, which restarts nothing
//! that panics and is not used here.

mod answers;
mod core;
mod failure;
mod fault;
mod gauge;
mod guard;
mod hook;
mod host;
mod ledger;
mod letter;
mod limits;
mod mailbox;
mod patience;
mod restart;
mod status;
mod supervisor;
mod tasks;
mod thread;
mod tree;
mod warden;
mod worker;

pub use failure::Unavailable;
pub use fault::Fault;
pub use limits::Limits;
pub use mailbox::{Mailbox, Recipient, bare};
pub use restart::Restart;
pub use status::{ActorState, ActorStatus, Failures, LastFailure};
pub use supervisor::{Supervisor, detached};
pub use tasks::tasks;
pub use tree::{Policy, Strategy};
pub use warden::{EX_SOFTWARE, Watch};
pub use worker::{Handler, Me, Pending, Reply, Worker};
