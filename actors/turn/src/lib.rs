//! Issues short-lived TURN credentials, and knows which relays are worth them; the relay secrets
//! never leave this crate but for an operator.
//!
//! Owns the secrets that all agents share with the relays. Asked by `sessions`, and by operators;
//! asks the bridge for the sealed secrets, and the relays how they are. Until a secret is here
//! every question is answered [`TurnError::NotReady`]. A restart loses nothing: secrets and health
//! outlive it.

mod actor;
mod admin;
mod config;
mod credential;
mod error;
mod health;
mod ice;
mod probe;
mod probe_target;
mod relay_connection;
mod relays;
mod rotation;
mod secret;
mod secrets;
mod stun;
mod url;

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use stream_bridge::Bridge;
use stream_pki::Seal;
use stream_protocol::{IceServer, SessionId};
use stream_supervisor::{Limits, Mailbox, Mode, RestartPolicy, Supervisor};

pub use admin::{ProbeRow, Request, Rotated};
pub use config::{Config, Pool, Server};
pub use credential::{Credential, Signer};
pub use error::{ProbeError, TurnError};
pub use probe::{ProbeTimings, probe_relay};
pub use rotation::{NewSecret, RejectedBy, Rotation};

use actor::Actor;
use relays::SharedState;

/// Whom a credential is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    Client,
    Instance,
}

/// Whether a relay is handed out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RelayState {
    Healthy,
    /// Its probes failed.
    Withheld,
    /// An operator has taken it out.
    Drained,
}

/// One relay over one transport, probed just now, and what the probes of the relay so far have led to.
#[derive(Debug)]
pub struct ProbeReport {
    pub pool: String,
    pub server: String,
    /// `udp`, `tcp` or `tls`.
    pub transport: &'static str,
    pub timings: ProbeTimings,
    pub state: RelayState,
}

/// The address of the actor.
#[derive(Clone)]
pub struct Turn {
    mailbox: Mailbox<Actor>,
    lifetime: Option<Duration>,
}

impl Turn {
    /// Starts the actor; it gets the relay secrets in the background. Refuses a configuration that
    /// cannot work and, when there are relays, secret files that cannot be used.
    pub fn start(
        config: Config,
        bridge: Bridge,
        supervisor: &Supervisor,
    ) -> Result<Self, TurnError> {
        config.check()?;
        let pools = config.all_pools();
        // Without relays there is nothing to sign, and no secret is needed.
        let seal = match pools.is_empty() {
            true => None,
            false => Some(Arc::new(Seal::load(&config.sealing_key)?)),
        };
        let lifetime = seal.is_some().then(|| Duration::from_secs(config.lifetime_s));
        let (targets, shared) = (probe_target::targets(&pools)?, SharedState::new(pools));
        let factory = move || {
            Actor::new(config.clone(), &bridge, seal.as_ref(), Arc::clone(&targets), shared.clone())
        };
        let mailbox = supervisor.spawn(
            "turn",
            Mode::CancelOnRestart,
            RestartPolicy::default(),
            Limits::default(),
            factory,
        );
        Ok(Self { mailbox, lifetime })
    }

    /// How long a credential is good for; `None` when no relay needs one.
    pub fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }

    /// Returns the ICE servers for one side of `session`: STUN first, then the relays, those of
    /// `region` before others, each with a credential that is good for [`Config::lifetime_s`] from
    /// now. Relays that do not work or are drained are left out, unless that would leave none.
    /// Empty when none is configured.
    pub async fn issue(
        &self,
        session: &SessionId,
        peer: Peer,
        region: &str,
    ) -> Result<Vec<IceServer>, TurnError> {
        let region = region.to_owned();
        self.mailbox.ask(IssueIceServers { session: session.clone(), peer, region }).await?
    }

    /// Returns whether the relay secrets are here or none is needed, and if not, why.
    pub async fn ready(&self) -> Result<(), TurnError> {
        self.mailbox.ask(Ready).await?
    }

    /// Returns whether some relay passes its probes or none is configured, and if not, which one is
    /// handed out all the same.
    pub async fn relays(&self) -> Result<(), TurnError> {
        self.mailbox.ask(GetRelays).await?
    }

    /// Probes every relay now, over each of its transports.
    pub async fn probe(&self) -> Result<Vec<ProbeReport>, TurnError> {
        self.mailbox.ask(Probe).await?
    }

    /// Makes credentials with a new secret, once each relay of `pool` that is not drained has shown
    /// that it accepts it; until then nothing changes. Refuses while two secrets are live.
    pub async fn rotate(&self, pool: &str) -> Result<Rotation, TurnError> {
        self.mailbox.ask(Rotate(pool.to_owned())).await?
    }

    /// Forgets the old secret of `pool`, unless relays still accept it: returns those. Refuses while
    /// credentials made with it are good.
    pub async fn retire(&self, pool: &str) -> Result<Vec<String>, TurnError> {
        self.mailbox.ask(Retire(pool.to_owned())).await?
    }

    /// Takes the relay whose first URL is `server` out of all new lists, on all agents, or puts it
    /// back. Refuses to take out the last one.
    pub async fn drain(&self, server: &str, drained: bool) -> Result<(), TurnError> {
        self.mailbox.ask(Drain { server: server.to_owned(), drained }).await?
    }
}

/// Makes the ICE servers for one side of a session.
#[derive(Message)]
#[rtype(result = "Result<Vec<IceServer>, TurnError>")]
struct IssueIceServers {
    session: SessionId,
    peer: Peer,
    region: String,
}

/// Asks whether the relay secrets are here.
#[derive(Message)]
#[rtype(result = "Result<(), TurnError>")]
struct Ready;

/// Asks whether some relay works.
#[derive(Message)]
#[rtype(result = "Result<(), TurnError>")]
struct GetRelays;

/// Probes every relay now.
#[derive(Message)]
#[rtype(result = "Result<Vec<ProbeReport>, TurnError>")]
struct Probe;

/// Switches a pool to a new secret.
#[derive(Message)]
#[rtype(result = "Result<Rotation, TurnError>")]
struct Rotate(String);

/// Forgets the old secret of a pool.
#[derive(Message)]
#[rtype(result = "Result<Vec<String>, TurnError>")]
struct Retire(String);

/// Takes a relay out, or puts it back.
#[derive(Message)]
#[rtype(result = "Result<(), TurnError>")]
struct Drain {
    server: String,
    drained: bool,
}
