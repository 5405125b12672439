//! Issues short-lived TURN credentials; the relay secret never leaves this crate.
//!
//! Owns the secret that all agents share with the relays. Asked by `sessions`; asks the bridge for
//! the sealed secret. Until it has it every question is answered [`TurnError::NotReady`]. A restart
//! loses nothing: the secret outlives it.

mod actor;
mod config;
mod credential;
mod error;
mod ice;
mod secret;

use std::sync::Arc;

use actix::Message;
use stream_bridge::Bridge;
use stream_pki::Seal;
use stream_protocol::{IceServer, SessionId};
use stream_supervisor::{Limits, Mailbox, Restart, Supervisor};

pub use config::{Config, Server};
pub use error::TurnError;

use actor::{Actor, Kept};

/// Whom a credential is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    Client,
    Instance,
}

/// The address of the actor.
#[derive(Clone)]
pub struct Turn(Mailbox<Actor>);

impl Turn {
    /// Starts the actor; it gets the relay secret in the background. Refuses a configuration that
    /// cannot work and, when there are relays, secret files that cannot be used.
    pub fn start(
        config: Config,
        bridge: Bridge,
        supervisor: &Supervisor,
    ) -> Result<Self, TurnError> {
        config.check()?;
        // Without relays there is nothing to sign, and no secret is needed.
        let seal = match config.servers.is_empty() {
            true => None,
            false => Some(Arc::new(Seal::load(&config.sealing_key)?)),
        };
        let kept = Kept::default();
        let factory =
            move || Actor::new(config.clone(), bridge.clone(), seal.clone(), kept.clone());
        Ok(Self(supervisor.guard("turn", Restart::default(), Limits::default(), factory)))
    }

    /// Returns the ICE servers for one side of `session`: STUN first, then each relay with a
    /// credential that is good for [`Config::lifetime_s`] from now. Empty when none is configured.
    pub async fn issue(
        &self,
        session: &SessionId,
        side: Side,
    ) -> Result<Vec<IceServer>, TurnError> {
        self.0.ask(IssueIceServers { session: session.clone(), side }).await?
    }

    /// Returns whether the relay secret is here or none is needed, and if not, why.
    pub async fn ready(&self) -> Result<(), TurnError> {
        self.0.ask(Ready).await?
    }
}

/// Makes the ICE servers for one side of a session.
#[derive(Message)]
#[rtype(result = "Result<Vec<IceServer>, TurnError>")]
struct IssueIceServers {
    session: SessionId,
    side: Side,
}

/// Asks whether the relay secret is here.
#[derive(Message)]
#[rtype(result = "Result<(), TurnError>")]
struct Ready;
