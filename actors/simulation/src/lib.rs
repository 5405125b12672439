//! Seeded simulations of the code that decides: agents and gateways as they ship, on one thread,
//! under a clock that jumps to whatever is next, with a NATS server and an AMS that are simulated.
//!
//! Everything that happens follows from a seed: which units die at which await and come back, which
//! are cut off or stand still, what the network loses, repeats and delays, when another server
//! leads or all of them start again, which of them lag and how much the log holds, how AMS fails
//! and lies, which clients come, join, signal, break off, leave and delete, and which instances
//! fail. Beside it stands what is true and no unit knows; each change of a document or a lease,
//! each launch, each deletion and what each client is told is judged by that as it happens.
//!
//! | stands in for | at | what of ours is above it, as it ships |
//! |---|---|---|
//! | NATS | what is asked of the bridge: records, requests, hints, the streams behind the log | `Bridge`, its readers and writers, `Tokens`, `Turn`, `Views`, `Sessions`, the gateway's endpoints |
//! | connections of clients | requests, and the frames of sockets | routes, admission, sockets, leases, the relay of signals |
//! | AMS | HTTP requests and events | the client with its breaker and its second attempts |
//! | time | tokio's clock | all timers, leases and deadlines |
//! | chance | the thread's seed | ids, tokens, pauses |
//!
//! Depends on everything, and nothing depends on it.

mod agent;
mod ams;
mod ams_service;
mod chance;
mod client;
mod gateway;
mod guest;
mod history;
mod instance;
mod judge;
mod listener;
mod plan;
mod process;
mod seats;
mod server;
mod shrink;
mod simulation;
mod site;
mod store;
mod units;
mod world;

pub use shrink::shrink;
pub use simulation::{Outcome, run, steps};
