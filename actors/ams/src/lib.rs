//! The only client of AMS, the management service that launches instances: mutual TLS, and the
//! server known by its pinned certificate or by an authority.
//!
//! `sessions` asks and decides; this crate asks AMS. It probes AMS, so that readiness can name the
//! cause when AMS is away or does not trust us, and it passes on the events of AMS.
//!
//! A [circuit breaker](stream_protocol::manual::failures#a-mute-ams) spares a sick AMS: requests
//! are bounded, refused ones are repeated when AMS wants them, and after five failures in a row
//! they are refused at once. A request to an AMS that was mute is hedged once AMS speaks again.
//!
//! | Part | On a restart | Why |
//! |---|---|---|
//! | connection status, cluster | rebuilt | the first probe tells them again |
//! | probe loop, reload loop, event loop | rebuilt | they belong to the actor |
//! | requests under way | kept | a launch should end with its answer |
//! | circuit breaker, connections | kept: shared state | AMS is no healthier after our failure |
//! | event channels | kept: shared state | listeners outlive the actor |
//! | why the certificate files are not used | kept: shared state | it is told once |

mod actor;
mod agent_api;
mod circuit_breaker;
mod client;
mod connection;
mod error;
mod events;
#[doc(hidden)]
pub mod fuzzing;
mod hedge;
mod http;
mod inspect;
mod instance;
mod metrics;
mod probe;
mod register;
mod resolver;
mod response;
#[cfg(feature = "simulation")]
pub mod simulated_ams;
#[cfg(feature = "simulation")]
mod simulation;
mod tls_files;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stream_metrics::{Collect, Exposition};
use stream_pki::Fingerprint;
use stream_protocol::Application;
use stream_supervisor::{Mailbox, Supervisor};
use tokio::sync::watch;

pub use agent_api::{AgentApi, AgentApiUpdate, PinUpdate, agent_api, set_agent_api};
pub use error::AmsError;
pub use events::{Action, InstanceEvent, InstanceEvents};
pub use inspect::{AmsReport, inspect};
pub use instance::{Instance, InstanceStatus, LaunchInstance};
pub use register::{Registered, register, try_connect};
pub use response::Cluster;
#[cfg(feature = "simulation")]
pub use simulation::Template;

use actor::{Actor, DeleteInstance, FindInstance, ListApplications, ListImages, ListInstances};
use actor::{GetStatus, LastCluster, PinAgent, ReadCluster};
use events::EventChannels;
use metrics::AmsMetrics;

/// Which AMS to use, and who we are to it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where AMS listens, `https://HOST:PORT`; AMS's own default port is 8444.
    pub url: String,
    /// Our client certificate, PEM; AMS must have it in its trust store.
    pub certificate: PathBuf,
    /// The RSA-4096 key of our client certificate, PEM.
    pub key: PathBuf,
    /// The SHA-256 fingerprints that AMS's certificate may have. One of `fingerprints`, `pins` and
    /// `ca` is required.
    #[serde(default)]
    pub fingerprints: Vec<Fingerprint>,
    /// File with such fingerprints, one a line; followed while the service runs.
    #[serde(default)]
    pub pins: Option<PathBuf>,
    /// Authorities that AMS's certificate may come from, PEM; followed while the service runs.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Seconds that one HTTP request may take, 1 to 300; defaults to 10. An operation of three
    /// requests takes three times as long at most.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: u64,
    /// Seconds between two looks at the certificates and pins, 1 to 3600; defaults to 5.
    #[serde(default = "default_reload_s")]
    pub reload_s: u64,
}

impl Config {
    /// Checks the values and reads the certificates, without a connection.
    ///
    /// # Errors
    ///
    /// [`AmsError::Config`] with a sentence.
    pub fn check(&self) -> Result<(), AmsError> {
        client::AmsClient::new(self).map(drop)
    }
}

fn default_timeout_s() -> u64 {
    10
}

fn default_reload_s() -> u64 {
    5
}

/// How an instance is deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Deletion {
    /// Its hooks run before it goes.
    Graceful,
    /// It goes, whatever it does.
    Forced,
}

/// What the last probe of AMS found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectionStatus {
    pub connected: bool,
    /// Why not, as a sentence for the operator.
    pub error: Option<String>,
}

/// The handle of the client: one method per message, cheap to clone.
#[derive(Clone)]
pub struct Ams {
    mailbox: Mailbox<Actor>,
    channels: EventChannels,
    metrics: AmsMetrics,
}

impl Ams {
    /// Starts the actor under `supervisor`. Reads the certificates now and does not wait for AMS.
    ///
    /// # Errors
    ///
    /// [`AmsError::Config`] when the configuration or a certificate cannot be used.
    pub fn start(config: Config, supervisor: &Supervisor) -> Result<Self, AmsError> {
        let channels = EventChannels::default();
        let (mailbox, metrics) = actor::start(&config, &channels, supervisor)?;
        Ok(Self { mailbox, channels, metrics })
    }

    /// Launches an instance and returns its id once AMS has accepted it, not once it runs.
    ///
    /// An instance that has the name and the tags already is the one meant, so a launch whose
    /// answer was lost is simply repeated.
    ///
    /// # Errors
    ///
    /// [`AmsError::NameTaken`] when another instance has the name,
    /// [`AmsError::NotFound`] when there is no such application or image.
    pub async fn launch(&self, launch: LaunchInstance) -> Result<String, AmsError> {
        self.mailbox.ask(launch).await?
    }

    /// Removes an instance, running or not, and checks that it is gone. One that does not exist
    /// counts as removed. When AMS does not carry out a graceful deletion, it is forced.
    ///
    /// # Errors
    ///
    /// [`AmsError::NotDeleted`] when AMS reports success and the instance is still there.
    pub async fn delete(&self, id_or_name: &str, how: Deletion) -> Result<(), AmsError> {
        self.mailbox.ask(DeleteInstance { id_or_name: id_or_name.to_owned(), how }).await?
    }

    /// Returns an instance, or `None` when there is no such one.
    pub async fn instance(&self, id_or_name: &str) -> Result<Option<Instance>, AmsError> {
        self.mailbox.ask(FindInstance(id_or_name.to_owned())).await?
    }

    /// Returns all instances that carry `tag`.
    pub async fn instances(&self, tag: &str) -> Result<Vec<Instance>, AmsError> {
        self.mailbox.ask(ListInstances { tag: tag.to_owned() }).await?
    }

    /// Returns the applications that can be streamed, by name: ready, with a published version.
    pub async fn applications(&self) -> Result<Vec<Application>, AmsError> {
        self.mailbox.ask(ListApplications).await?
    }

    /// Returns the names of the images that can be launched, sorted. An AMS without such a list has
    /// none.
    pub async fn images(&self) -> Result<Vec<String>, AmsError> {
        self.mailbox.ask(ListImages).await?
    }

    /// Returns a receiver that changes when AMS reports other applications or images. Events get
    /// lost, so list them from time to time, too.
    pub fn catalogue(&self) -> watch::Receiver<()> {
        self.channels.catalogue.subscribe()
    }

    /// Returns which cluster this AMS managed when it was there last. For what needs no AMS; before
    /// an instance is touched, [`Ams::cluster`] tells which AMS this is.
    ///
    /// # Errors
    ///
    /// What [`Ams::cluster`] returns, when AMS was never reached.
    pub async fn last_cluster(&self) -> Result<Cluster, AmsError> {
        match self.mailbox.ask(LastCluster).await? {
            Some(cluster) => Ok(cluster),
            None => self.cluster().await,
        }
    }

    /// Returns which cluster this AMS manages, as the last probe found it.
    pub async fn cluster(&self) -> Result<Cluster, AmsError> {
        self.mailbox.ask(ReadCluster).await?
    }

    /// Has AMS expect the certificate with `fingerprint` of the agent at `url`, if that is the one
    /// that it asks for sessions. Of any other it is told nothing.
    pub async fn pin_agent(
        &self,
        url: &str,
        fingerprint: Fingerprint,
    ) -> Result<PinUpdate, AmsError> {
        self.mailbox.ask(PinAgent { url: url.to_owned(), fingerprint }).await?
    }

    /// Returns what happens to instances from now on. Events get lost, so list instances from time
    /// to time, too.
    pub fn changes(&self) -> InstanceEvents {
        InstanceEvents::new(self.channels.instances.subscribe())
    }

    /// Returns what the last probe found; answers at once.
    pub async fn status(&self) -> ConnectionStatus {
        self.mailbox.ask(GetStatus).await.unwrap_or_else(|unavailable| ConnectionStatus {
            connected: false,
            error: Some(format!("the client of ams is unavailable: {unavailable}")),
        })
    }
}

impl Collect for Ams {
    fn collect(&self, exposition: &mut Exposition) {
        self.metrics.collect(exposition);
    }
}
