//! Actors whose mailbox outlives a crash of their state.
//!
//! An actor author writes a [`Worker`] (the state), one [`Handler`] per message, and a handle that
//! wraps a [`Mailbox`]. A [`Supervisor`] runs it on a thread of its own and rebuilds the state from
//! its factory whenever it fails. What is a failure:
//!
//! - a panic: in a handler, at once or after an await, on a timer, in background work, in the
//!   factory itself;
//! - an error that the worker declares fatal ([`Context::fail`]);
//! - an answer that takes longer than [`Limits::handler_timeout`];
//! - a worker that does not get [ready](Worker::ready), or not within [`Limits::start_timeout`].
//!
//! What a restart keeps and loses:
//!
//! - what is queued stays queued and is answered by the new state;
//! - the asker of the message in hand gets [`AskError::Crashed`], or
//!   [`AskError::TimedOut`] if the answer took too long. If doing the message twice is as good
//!   as once ([`Handler::IDEMPOTENT`]), it is given to the new state instead, once;
//! - timers and background work of the old state end with it;
//! - other answers in progress depend on the mode.
//!
//! | mode | other answers in progress | a handler that blocks |
//! |---|---|---|
//! | [`Mode::CancelOnRestart`] | are cancelled: their askers get `Crashed` | ends the process |
//! | [`Mode::KeepInFlight`] | run on, for they own what they need | ends the process |
//! | [`spawn_blocking`](Supervisor::spawn_blocking) | none: one message at a time | leaves its thread behind |
//!
//! Keep answers in flight where a half-done one matters, spawn blocking only what blocks and may be
//! done twice, cancel elsewhere.
//!
//! The first restarts are immediate, then the pauses grow ([`RestartPolicy`]); an actor that fails
//! still more often is suspended, its mailbox kept, and its parent decides ([`Policy`]): it
//! restarts that actor, or also those started after it, in order. A [group](Supervisor::group) that
//! has to do so too often escalates in turn. At the root the program is told to stop
//! ([`Supervisor::fatal`]); if it has not within [`WatchdogConfig::drain`], the supervisor's own
//! thread ends the process with [`EX_SOFTWARE`]. So it does when the thread of an actor is stuck,
//! which nothing else can end.
//!
//! Mailboxes are bounded here, by a count of our own: actix bounds each clone of an address
//! separately and `do_send` not at all. A full mailbox refuses at once with [`AskError::Busy`].
//! Messages are `Sync` as well as `Send`: one that a stuck thread holds is given to the next.
//!
//! Asked by every actor crate; asks nobody. See also: `actix::Supervisor`, which restarts nothing
//! that panics and is not used here.

mod backoff;
mod capacity;
mod cell;
mod deadline;
mod dedicated;
mod drain;
mod failure;
mod failure_tracker;
mod fault;
mod in_flight;
mod limits;
mod mailbox;
mod panic_hook;
mod registry;
mod reply;
mod restart;
mod runner;
mod status;
mod supervisor;
mod tasks;
mod tree;
mod watchdog;
mod worker;

pub use backoff::{Backoff, jittered, retry_while};
pub use drain::Drain;
pub use failure::AskError;
pub use fault::Fault;
pub use futures_util::future::LocalBoxFuture;
pub use limits::Limits;
pub use mailbox::{Mailbox, Recipient, test_mailbox};
pub use restart::RestartPolicy;
pub use status::{ActorState, ActorStatus, Failures, LastFailure};
pub use supervisor::{Mode, Supervisor, spawn_detached};
pub use tasks::live_tasks;
pub use tree::{Policy, Strategy};
pub use watchdog::{EX_SOFTWARE, WatchdogConfig};
pub use worker::{Context, Handler, Reply, Worker};
