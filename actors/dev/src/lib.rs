//! The whole stack on one machine, for people, tests and benches: a real nats-server, a real
//! coturn, a simulated AMS whose instances send real video, and the two services.
//!
//! Never part of a service. Everything listens on the loopback, unless `stream-dev up` is told
//! another address, and lives in one directory; what is started here ends with whoever started it,
//! even when that one is killed.

use std::path::Path;

pub mod adb;
pub mod ams;
pub mod command_line;
pub mod consoles;
pub mod coturn;
pub mod env_file;
pub mod faketime;
pub mod faulty_proxy;
pub mod in_process;
pub mod keys;
pub mod load;
pub mod manuals;
pub mod nats;
mod nats_accounts;
pub mod node_files;
pub mod ports;
pub mod process;
pub mod processes;
pub mod run;
pub mod smoke;
pub mod workdir;

/// Returns the directory of the sources, where the scripts put what they fetch and measure.
pub fn checkout() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own)
}

/// Logs warnings, or what `RUST_LOG` says: the services log to files of their own, and what they
/// say at length is not for a terminal.
pub fn log_warnings() {
    let default = env_logger::Env::default().default_filter_or("warn");
    env_logger::Builder::from_env(default).format_target(false).init();
}
