//! Supervised actors: the mailbox outlives a crash of the state.
//!
//! An actor author writes a [`Worker`] (the state), one [`Handler`] per message, and a handle that
//! wraps a [`Mailbox`]. A [`Supervisor`] runs the worker on a thread of its own and rebuilds it
//! from its factory whenever it fails; [`Supervisor`] has an example. An actor fails by
//!
//! - a panic: in a handler, at once or after an await, on a timer, in background work, in the
//!   factory itself;
//! - an error that the worker declares fatal ([`Context::fail`]);
//! - an answer that takes longer than [`Limits::handler_timeout`].
//!
//! | part | on restart | why |
//! |---|---|---|
//! | state ([`Worker`]) | rebuilt by the factory | it may be torn |
//! | timers, background work ([`Context`]) | ended | they belong to the state |
//! | mailbox and its messages | kept | the new state answers them |
//! | message in hand | answered with an [`AskError`], or retried once | it may be the cause |
//! | other answers in progress | as [`Mode`] says | they own all they need |
//!
//! A message in hand is retried if [`Handler::IDEMPOTENT`]; else its asker gets
//! [`AskError::Crashed`], or [`AskError::TimedOut`] if the answer took too long.
//! [`Mode::KeepInFlight`] is for actors where a half-done answer matters,
//! [`Mode::CancelOnRestart`] for all others.
//!
//! # Escalation
//!
//! The first restarts are immediate, then the pauses grow ([`RestartPolicy`], [`Backoff`]). An
//! actor that fails more often than its policy allows is suspended with its mailbox, and the
//! supervisor restarts it together with the actors started after it, in order ([`Policy`]). A
//! supervisor that has to do so too often gives up and tells the program to drain
//! ([`Supervisor::fatal`], [`Drain`]). If the program has not ended after
//! [`WatchdogConfig::drain`], the supervisor's own thread ends it with [`EX_SOFTWARE`], so that
//! systemd starts it anew. A handler that blocks its thread for longer than
//! [`WatchdogConfig::heartbeat`] leads there too: nothing else frees a stuck thread.
//!
//! # Mailboxes
//!
//! A full mailbox refuses at once with [`AskError::Busy`]. This crate counts messages itself: actix
//! bounds each clone of an address separately, and `do_send` not at all. Messages are lent to
//! handlers, so that one which makes a worker fail can be given to the next.
//!
//! A message carries the [`RequestId`] that its sender works for. Its handler, the answer that
//! follows later, background work and [detached](spawn_detached) work that are begun there work for
//! the same request.
//!
//! Every actor crate asks this one; it asks nobody. `actix::Supervisor`, which restarts nothing
//! that panics, is not used.

mod actor_thread;
mod backoff;
mod capacity;
mod cell;
mod command;
mod deadline;
mod drain;
mod failure;
mod failure_tracker;
mod fault;
mod in_flight;
mod limits;
mod mailbox;
mod panic_hook;
mod race;
mod registry;
mod reply;
mod request_id;
mod restart;
mod runner;
mod status;
mod supervisor;
mod tasks;
mod test_hooks;
mod tree;
mod watchdog;
mod worker;

pub use backoff::{Backoff, jittered, retry_while};
pub use drain::{Drain, DrainOrder};
pub use failure::AskError;
pub use fault::Fault;
pub use futures_util::future::LocalBoxFuture;
pub use limits::Limits;
pub use mailbox::{Mailbox, Recipient};
pub use race::race;
pub use request_id::RequestId;
pub use restart::RestartPolicy;
pub use status::{ActorState, ActorStatus, Failures, LastFailure};
pub use supervisor::{Mode, Supervisor, spawn_detached};
pub use tasks::live_tasks;
pub use tree::Policy;
pub use watchdog::{EX_SOFTWARE, WatchdogConfig};
pub use worker::{Context, Handler, Reply, Worker};
