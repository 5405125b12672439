//! The whole stack on one machine, for people, tests and benches: a real nats-server, a real
//! coturn, a simulated AMS whose instances send real video, and the two services.
//!
//! Compiled with the feature `dev` only. Everything listens on the loopback and lives in one
//! directory; what is started here ends with whoever started it, even when that one is killed.

pub mod ams;
pub mod bench;
pub mod coturn;
pub mod keys;
pub mod nats;
pub mod place;
pub mod ports;
pub mod process;
pub mod services;
pub mod site;
pub mod smoke;
pub mod stack;
pub mod up;
pub mod wire;
