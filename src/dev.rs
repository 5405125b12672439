//! The whole stack on one machine, for people, tests and benches: a real nats-server, a real
//! coturn, a simulated AMS whose instances send real video, and the two services.
//!
//! Compiled with the feature `dev` only. Everything listens on the loopback and lives in one
//! directory; what is started here ends with whoever started it, even when that one is killed.

pub mod ams;
pub mod bench;
pub mod coturn;
pub mod faulty_proxy;
pub mod in_process;
pub mod keys;
pub mod nats;
pub mod node_files;
pub mod ports;
pub mod process;
pub mod processes;
pub mod run;
pub mod smoke;
pub mod workdir;
