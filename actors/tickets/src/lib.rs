//! The keys of TLS session tickets, shared by the units of one service: a client that comes back to
//! another unit, or to one that was restarted, resumes instead of paying for a full handshake.
//!
//! Owns the keys, which lie sealed in NATS, and has the servers of this unit use them. Asked by
//! nobody; asks the bridge. Nothing depends on it: until the keys are here, and when they cannot be
//! had, tickets are made with what the servers have, at first a key of their own. A restart loses
//! nothing.
//!
//! A key makes tickets for six hours and is kept until the last of them has ended. Who resumes is
//! not shown a certificate: a ticket vouches for every unit that has the sealing key.

mod actor;
mod keyring;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use stream_bridge::Bridge;
use stream_pki::{Seal, SecretError, SessionTicketer};
use stream_supervisor::{Limits, Mode, RestartPolicy, Supervisor};

use actor::Actor;

/// Where the keys are.
#[derive(Clone, Debug)]
pub struct Config {
    /// The sealed record that holds them; each service has its own.
    pub record: &'static str,
    /// File with the key under which the units of this service seal them.
    pub sealing_key: PathBuf,
    /// Directory for the highest generation of the keys seen so far.
    pub state: PathBuf,
}

/// Starts the actor, which keeps the keys of `ticketer` up to date. Refuses a sealing key that
/// cannot be read.
pub fn start(
    config: Config,
    ticketer: SessionTicketer,
    bridge: Bridge,
    supervisor: &Supervisor,
) -> Result<(), SecretError> {
    let seal = Arc::new(Seal::load(&config.sealing_key)?);
    let last_added = Arc::new(Mutex::new(None));
    let factory = move || {
        let (config, ticketer) = (config.clone(), ticketer.clone());
        Actor::new(config, ticketer, bridge.clone(), Arc::clone(&seal), Arc::clone(&last_added))
    };
    supervisor.spawn(
        "tickets",
        Mode::CancelOnRestart,
        RestartPolicy::default(),
        Limits::default(),
        factory,
    );
    Ok(())
}
