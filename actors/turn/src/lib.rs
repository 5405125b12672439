//! Issues short-lived TURN credentials, and probes the relays they are for. The relay secrets leave
//! this crate only for an operator.
//!
//! Owns the secrets that all agents share with the relays. Asked by `sessions` and by operators;
//! asks the bridge for the sealed secrets, and probes the relays. Until a secret has been read
//! every question is answered [`TurnError::NotReady`].
//!
//! | part | on restart | why |
//! |---|---|---|
//! | the relays, as taken up last | kept | a restart must not bring back those that are gone |
//! | the secrets, as read last | kept | credentials are issued while NATS is away |
//! | the health of each relay | kept | a restart must not hand out relays that are withheld |
//! | why secrets could not be read | rebuilt | the next read finds it out again |
//! | the probes in progress | rebuilt | the next probe is due within a period |

mod actor;
mod admin;
mod allocation;
mod changes;
mod config;
mod credential;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod ice;
mod metrics;
mod probe;
mod probe_target;
mod relay_connection;
mod relay_set;
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
use stream_metrics::{Collect, Exposition};
use stream_protocol::{IceServer, IceTerms, SessionId};
use stream_supervisor::{Limits, Mailbox, Mode, RestartPolicy, Supervisor};
use tokio::sync::watch;

pub use admin::{ProbeRow, Request, Rotated};
pub use changes::ServerChanges;
pub use config::{Config, Pool, Server};
pub use credential::{Credential, Signer};
pub use error::{ProbeError, TurnError};
pub use probe::{ProbeTimings, TriedRelays, probe_relay, try_relays};
pub use rotation::{NewSecret, RejectedBy, Rotation};

use actor::Actor;
use relay_set::{RelaySet, SharedState};

/// Whom a credential is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    Client,
    Instance,
}

/// Whether a relay is handed out to clients and instances.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RelayState {
    Healthy,
    /// Its probes failed.
    Withheld,
    /// An operator took it out.
    Drained,
}

/// The probe of one relay over one transport, and the state of the relay.
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
    shared: SharedState,
}

impl Turn {
    /// Starts the actor, which reads the relay secrets in the background.
    ///
    /// # Errors
    ///
    /// Names a configuration key that cannot work or, when there are relays, a secret file that
    /// cannot be used.
    pub fn start(
        config: Config,
        bridge: Bridge,
        supervisor: &Supervisor,
    ) -> Result<Self, TurnError> {
        config.check()?;
        let shared = SharedState::new(RelaySet::read(config, None)?);
        let kept = shared.clone();
        let factory = move || Actor::new(bridge.clone(), kept.clone());
        let mailbox = supervisor.spawn(
            "turn",
            Mode::CancelOnRestart,
            RestartPolicy::default(),
            Limits::default(),
            factory,
        );
        Ok(Self { mailbox, shared })
    }

    /// Hands out the relays and STUN servers of `config` from now on, in the place of the present
    /// ones; no other key of it counts. Relays that stay keep what their probes have shown, and
    /// their certificate authorities are read again. Returns what has changed.
    ///
    /// # Errors
    ///
    /// Names a key that cannot work or a file that cannot be used; nothing has changed then.
    pub async fn take_up(&self, config: &Config) -> Result<ServerChanges, TurnError> {
        let present = self.shared.present();
        let config = present.config.with_servers_of(config);
        config.check()?;
        let changes = ServerChanges::between(&present.config, &config);
        let set = Arc::new(RelaySet::read(config, Some(&present))?);
        self.mailbox.ask(TakeUp { set, changes: changes.clone() }).await?;
        Ok(changes)
    }

    /// Returns how long a credential is valid that is renewed; `None` while no relay needs one.
    pub fn lifetime(&self) -> Option<Duration> {
        let set = self.shared.present();
        (!set.pools.is_empty()).then(|| Duration::from_secs(set.config.lifetime_s))
    }

    /// Returns how often other servers came to be issued than before: when others were [taken
    /// up](Turn::take_up), and when the secret of one of their pools became known.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes()
    }

    /// Returns the ICE servers for one `peer` of `session`, which is given fresh ones in time: STUN
    /// first, then the relays, those of `region` before others, each with a credential that is
    /// valid for [`Config::lifetime_s`] from now. Leaves out relays that are withheld or drained,
    /// unless that would leave none. Empty when none is configured.
    ///
    /// # Errors
    ///
    /// [`TurnError::NotReady`] while no pool has a secret.
    pub async fn issue(
        &self,
        session: &SessionId,
        peer: Peer,
        region: &str,
    ) -> Result<Vec<IceServer>, TurnError> {
        self.issue_on(IceTerms::renewed(), session, peer, region).await
    }

    /// Returns the ICE servers as [`Turn::issue`] does, with credentials that are valid for as long
    /// as `terms` say.
    ///
    /// # Errors
    ///
    /// [`TurnError::NotReady`] while no pool has a secret.
    pub async fn issue_on(
        &self,
        terms: IceTerms,
        session: &SessionId,
        peer: Peer,
        region: &str,
    ) -> Result<Vec<IceServer>, TurnError> {
        let (session, region) = (session.clone(), region.to_owned());
        self.mailbox.ask(IssueIceServers { session, peer, region, terms }).await?
    }

    /// Returns URLs of STUN servers that are as far from a browser as sessions of `region` are, as
    /// well as this agent knows: relays before others, four at most.
    pub fn stun_servers(&self, region: &str) -> Vec<String> {
        let set = self.shared.present();
        let relays = set.relays();
        ice::near(&set.config.stun, &relays, region)
    }

    /// Succeeds when the secrets of all pools are known, or none is needed.
    ///
    /// # Errors
    ///
    /// [`TurnError::NotReady`] says why one is not.
    pub async fn ready(&self) -> Result<(), TurnError> {
        self.mailbox.ask(Ready).await?
    }

    /// Succeeds when some relay passes its probes, or none is configured.
    ///
    /// # Errors
    ///
    /// [`TurnError::NoGoodRelay`] names the relay that is handed out all the same.
    pub async fn relays(&self) -> Result<(), TurnError> {
        self.mailbox.ask(GetRelays).await?
    }

    /// Probes every relay now, over each of its transports.
    ///
    /// # Errors
    ///
    /// [`TurnError::NotReady`] while the secret of a pool is unknown.
    pub async fn probe(&self) -> Result<Vec<ProbeReport>, TurnError> {
        self.mailbox.ask(Probe).await?
    }

    /// Makes a new secret the one that signs, once each relay of `pool` that is not drained accepts
    /// it; until then nothing changes.
    ///
    /// # Errors
    ///
    /// [`TurnError::Refused`] for a pool that is not configured, and while two secrets are valid.
    pub async fn rotate(&self, pool: &str) -> Result<Rotation, TurnError> {
        self.mailbox.ask(Rotate(pool.to_owned())).await?
    }

    /// Forgets the old secret of `pool`, unless relays still accept it; returns those.
    ///
    /// # Errors
    ///
    /// [`TurnError::Refused`] when there is none, and while credentials made with it are valid.
    pub async fn retire(&self, pool: &str) -> Result<Vec<String>, TurnError> {
        self.mailbox.ask(Retire(pool.to_owned())).await?
    }

    /// Takes the relay whose first URL is `server` out of all new lists, on all agents, or puts it
    /// back.
    ///
    /// # Errors
    ///
    /// [`TurnError::Refused`] for a relay that is not configured, and for the last one left.
    pub async fn drain(&self, server: &str, drained: bool) -> Result<(), TurnError> {
        self.mailbox.ask(Drain { server: server.to_owned(), drained }).await?
    }
}

impl Collect for Turn {
    fn collect(&self, exposition: &mut Exposition) {
        let states = self.shared.present().relays().count();
        self.shared.metrics.collect(states, exposition);
    }
}

/// Makes the ICE servers for one side of a session.
#[derive(Message)]
#[rtype(result = "Result<Vec<IceServer>, TurnError>")]
struct IssueIceServers {
    session: SessionId,
    peer: Peer,
    region: String,
    terms: IceTerms,
}

/// Puts a set of relays in the place of the present one.
#[derive(Message)]
#[rtype(result = "()")]
struct TakeUp {
    set: Arc<RelaySet>,
    changes: ServerChanges,
}

/// Asks whether the relay secrets are known.
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
