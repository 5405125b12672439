//! The one client of AMS, the management service that launches instances: mutual TLS, the server
//! known by its pinned certificate or by an authority.
//!
//! Asked by `sessions`, which decides; asks AMS. It also keeps watching whether AMS is there and
//! trusts us, so that readiness can name the cause, and listens to what AMS tells of instances. A
//! restart loses nothing but that knowledge, which the next probe brings back; a call under way
//! outlives it.
//!
//! A sick AMS is spared: calls are bounded, what it refuses for now is repeated when it wants, and
//! what it does not answer several times in a row is refused at once until it is back. One that was
//! mute and speaks again is asked again what it did not answer.

mod actor;
mod circuit_breaker;
mod client;
mod connection;
mod error;
mod events;
mod http;
mod instance;
mod probe;
mod register;
mod response;
mod tls_files;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stream_pki::Fingerprint;
use stream_protocol::Application;
use stream_supervisor::{Mailbox, Supervisor};
use tokio::sync::{broadcast, watch};

pub use error::AmsError;
pub use events::{Action, InstanceEvent, InstanceEvents};
pub use instance::{Instance, InstanceStatus, LaunchInstance};
pub use register::{Registered, register};
pub use response::Cluster;

use actor::{Actor, DeleteInstance, FindInstance, ListApplications, ListImages, ListInstances};
use actor::{EventChannels, GetStatus, ReadCluster};

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
    /// How long one HTTP call may take, in seconds, 1 to 300; defaults to 10. What takes three
    /// calls takes three times as long at most.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: u64,
    /// Seconds between two looks at the certificates and pins, 1 to 3600; defaults to 5.
    #[serde(default = "default_reload_s")]
    pub reload_s: u64,
}

impl Config {
    /// Refuses what cannot work, and certificates that cannot be used, without a connection.
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

/// Whether AMS was there, and trusted us, when it was last probed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectionStatus {
    pub connected: bool,
    /// Why not, as a sentence for the operator.
    pub error: Option<String>,
}

/// The address that callers hold: one method per message.
#[derive(Clone)]
pub struct Ams {
    mailbox: Mailbox<Actor>,
    channels: EventChannels,
}

impl Ams {
    /// Starts the actor under `supervisor`. Reads the certificates now and refuses what cannot be
    /// used; whether AMS is there is not waited for.
    pub fn start(config: Config, supervisor: &Supervisor) -> Result<Self, AmsError> {
        let channels = EventChannels {
            instances: broadcast::Sender::new(events::BACKLOG),
            catalogue: watch::Sender::new(()),
        };
        Ok(Self { mailbox: actor::start(&config, &channels, supervisor)?, channels })
    }

    /// Has an instance launched and returns its id once AMS has accepted it, not once it runs.
    ///
    /// When an instance has the name already, that is the one meant: its id is returned. So a
    /// launch whose answer was lost can just be repeated.
    pub async fn launch(&self, launch: LaunchInstance) -> Result<String, AmsError> {
        self.mailbox.ask(launch).await?
    }

    /// Has an instance removed by force, running or not, and makes sure that it is. One that does
    /// not exist counts as removed; [`AmsError::NotDeleted`] when it is still there.
    pub async fn delete(&self, id_or_name: &str) -> Result<(), AmsError> {
        self.mailbox.ask(DeleteInstance(id_or_name.to_owned())).await?
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

    /// Changes when AMS tells that there are other applications or images. Events get lost: list
    /// them from time to time, too.
    pub fn catalogue(&self) -> watch::Receiver<()> {
        self.channels.catalogue.subscribe()
    }

    /// Returns which cluster this AMS manages, as it was at the last probe.
    pub async fn cluster(&self) -> Result<Cluster, AmsError> {
        self.mailbox.ask(ReadCluster).await?
    }

    /// Returns what happens to instances from now on. Events get lost: look from time to time, too.
    pub fn changes(&self) -> InstanceEvents {
        InstanceEvents::new(self.channels.instances.subscribe())
    }

    /// Returns how AMS was found at the last probe; answers at once.
    pub async fn status(&self) -> ConnectionStatus {
        self.mailbox.ask(GetStatus).await.unwrap_or_else(|unavailable| ConnectionStatus {
            connected: false,
            error: Some(format!("the client of ams is unavailable: {unavailable}")),
        })
    }
}
