//! NATS: requests, the key-value store and the signal log. The only crate that knows async-nats.
//!
//! Owns the connection of this process; threads that carry signals have one more each
//! ([`SignalConnection`]). Everybody of a higher row asks it; upward it only tells: a request that
//! arrives goes to the [`Recipient`] that serves its subject. While NATS is away every question is
//! answered [`BridgeError::Disconnected`] at once, and the connection is tried again with growing
//! pauses. Nothing that NATS acknowledged is lost, whatever fails here.
//!
//! | part | on restart | why |
//! |---|---|---|
//! | state of the connection | rebuilt, from the saved one while that is up | nobody notices |
//! | saved connection | kept | a new one takes seconds, and loses the subscriptions |
//! | routes and subscriptions | kept | what arrives meanwhile would be lost |
//! | connection of a thread | kept | it belongs to the thread |
//! | reads and writes under way | kept | each holds the connection it began with |
//! | clock and id of the store | kept | read anew every 10 s and at each connect |
//! | health of the store | kept | a restart does not make a full store good |
//! | what readers of signals have seen of the log | kept | it belongs to the readers |
//! | certificates in use | kept | files that cannot be used leave them |
//!
//! The files, from the ground up: `tls_files`, `dial`, `connection`, `batch`, `log_streams`,
//! `signal_log` and `buckets` use NATS; `connection_state`, `log_bounds` and `log_watch` decide;
//! `subscriptions`, `store_clock` and `store_health` are shared state; `actor` holds it together;
//! all others are what it is asked.

mod actor;
mod backend;
mod batch;
mod buckets;
mod change_hints;
mod changes;
mod connect;
mod connection;
mod connection_state;
mod continuity;
mod credentials;
mod dial;
mod error;
mod former_keys;
#[doc(hidden)]
pub mod fuzzing;
mod incremental_reader;
mod inspect;
mod log_bounds;
mod log_ends;
mod log_streams;
mod log_watch;
mod metrics;
mod one_time_secret;
mod reached;
mod record_changes;
mod records;
mod requests;
mod sealed_record;
mod signal_connection;
mod signal_log;
mod signal_reader;
mod signal_writer;
#[cfg(feature = "simulation")]
mod simulated_log;
#[cfg(feature = "simulation")]
mod simulated_server;
#[cfg(feature = "simulation")]
pub mod simulation;
#[cfg(feature = "simulation")]
mod stand_in;
mod status;
mod store_clock;
mod store_health;
mod subscriptions;
mod timeline;
mod tls_files;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stream_metrics::{Collect, Exposition};
use stream_protocol::subjects::{Bucket, NatsUser};
use stream_protocol::{Reply, Timestamp, Versioned};
use stream_supervisor::{Limits, Mode, Recipient, RestartPolicy, Supervisor};

pub use buckets::{MARKER_TTL, MAX_SIGNAL_AGE};
pub use change_hints::ChangeHints;
pub use changes::RecordChange;
pub use connect::try_connect;
pub use continuity::Continuity;
pub use error::{BridgeError, ConfigError};
pub use incremental_reader::{Increment, IncrementalReader};
pub use inspect::{Space, StoreReport, StreamReport, inspect};
pub use one_time_secret::OneTimeSecret;
pub use sealed_record::{SealedError, SealedRecord};
pub use signal_connection::SignalConnection;
pub use signal_reader::SignalReader;
pub use signal_writer::SignalWriter;
pub use status::ConnectionStatus;
pub use subscriptions::IncomingRequest;
pub use timeline::PastEntry;

use actor::{Actor, SharedState};
use backend::Backend;
use metrics::NatsMetrics;
use reached::Reached;
use store_clock::StoreClock;
use subscriptions::Route;
use tls_files::TlsFiles;
use tokio::time::Instant;

/// How to reach NATS.
///
/// A token is full trust: the server gives a token client every permission of its account. An nkey
/// or credentials are of a user with permissions of its own. One of the three is given, or none.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses, `tls://host:port`; any of them will do. A server that another one advertises by
    /// its address may have the certificate of any host named here.
    pub servers: Vec<String>,
    /// PEM file with the CA that signed the servers' certificates, read anew at each connect.
    pub ca: PathBuf,
    /// File with the token, read anew at each connect.
    pub token: Option<PathBuf>,
    /// File with NATS credentials (JWT and nkey seed), read anew at each connect.
    pub credentials: Option<PathBuf>,
    /// File with the seed of an nkey, `SU…`, read anew at each connect.
    pub nkey: Option<PathBuf>,
    /// PEM file with our certificate, when the servers ask for one; read anew at each connect.
    pub certificate: Option<PathBuf>,
    /// PEM file with its key.
    pub key: Option<PathBuf>,
    /// Copies of every stored record in a NATS cluster.
    #[serde(default = "one")]
    pub replicas: usize,
}

fn one() -> usize {
    1
}

/// A stored value and the revision it was read at.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<T> {
    pub value: T,
    pub revision: u64,
}

/// The address of the bridge: one method for each thing that is asked of NATS. Cheap to clone.
///
/// Every method answers within seconds, [`BridgeError::Disconnected`] at once while NATS is away.
/// A method whose answer did not come ([`BridgeError::TimedOut`]) may have acted all the same.
///
/// ```no_run
/// # use std::time::Duration;
/// # use stream_bridge::{Bridge, BridgeError};
/// # use stream_protocol::subjects::Bucket;
/// # async fn example(bridge: Bridge) -> Result<(), BridgeError> {
/// // Create, read and update check what is there, so that of several writers one is right.
/// let revision = bridge.create(Bucket::Accounts, "alice", &vec!["session.read"]).await?;
/// match bridge.update(Bucket::Accounts, "alice", &vec!["session.read"], revision - 1).await {
///     Err(BridgeError::Conflict) => {} // Somebody else was faster: read, and try again.
///     other => drop(other?),
/// }
/// // Calls back whenever the record may have changed.
/// let watch = bridge.watch(Bucket::Sessions, "d1k5u8k2qj3v4l7m9n0p", async || {
///     let key = "d1k5u8k2qj3v4l7m9n0p";
///     bridge.read::<serde_json::Value>(Bucket::Sessions, key).await.is_ok()
/// });
/// # watch.await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bridge(Backend, StoreClock, NatsMetrics, timeline::Listener, Reached);

impl Bridge {
    /// Starts the actor for an operator, who may use all that there is, as [`Bridge::start_as`]
    /// does.
    ///
    /// # Errors
    ///
    /// As [`Bridge::start_as`].
    pub fn start(config: Config, unit: &str, supervisor: &Supervisor) -> Result<Self, ConfigError> {
        Self::start_as(NatsUser::Operator, config, unit, supervisor)
    }

    /// Starts the actor, which connects in the background, as `unit`. It touches no bucket but
    /// those of `user`, which may have no permission for others.
    ///
    /// # Errors
    ///
    /// A configuration that cannot work, before anything is started.
    pub fn start_as(
        user: NatsUser,
        config: Config,
        unit: &str,
        supervisor: &Supervisor,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let metrics = NatsMetrics::default();
        let shared = SharedState::new(TlsFiles::read(&config, &metrics)?, metrics);
        let (clock, metrics) = (shared.clock.clone(), shared.metrics.clone());
        let reached = shared.reached.clone();
        let unit = unit.to_owned();
        let limits = Limits { mailbox_capacity: 8192, max_concurrent: 1024, ..Limits::default() };
        let factory = move || Actor::new(user, config.clone(), unit.clone(), shared.clone());
        let (mode, policy) = (Mode::KeepInFlight, RestartPolicy::default());
        let mailbox = supervisor.spawn("bridge", mode, policy, limits, factory);
        Ok(Self(Backend::Nats(mailbox), clock, metrics, timeline::Listener::default(), reached))
    }

    /// Waits for `at_most`, or until NATS is reached, for the first time or again: a pause for
    /// whoever tries again what fails while NATS is away.
    pub async fn reached_within(&self, at_most: Duration) {
        let Self(.., reached) = self;
        reached.within(at_most).await;
    }

    /// Returns the value under `key`, or `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`BridgeError::Malformed`] when it is not a `T`.
    pub async fn read<T: DeserializeOwned>(
        &self,
        bucket: Bucket,
        key: &str,
    ) -> Result<Option<Entry<T>>, BridgeError> {
        match self.0.ask(records::Read { bucket, key: key.to_owned() }).await?? {
            Some(entry) => entry.decode().map(Some),
            None => Ok(None),
        }
    }

    /// Returns the revision of the record under `key`, whether or not this version can read it, or
    /// `None` when there is none.
    pub async fn revision(&self, bucket: Bucket, key: &str) -> Result<Option<u64>, BridgeError> {
        let read = self.0.ask(records::Read { bucket, key: key.to_owned() }).await??;
        Ok(read.map(|entry| entry.revision))
    }

    /// Stores a value under a new key and returns its revision.
    ///
    /// # Errors
    ///
    /// [`BridgeError::Conflict`] when the key exists.
    pub async fn create<T: Serialize>(
        &self,
        bucket: Bucket,
        key: &str,
        value: &T,
    ) -> Result<u64, BridgeError> {
        self.write(bucket, key, value, records::WriteMode::Create).await
    }

    /// Replaces the value read at `revision`, and returns the new revision.
    ///
    /// # Errors
    ///
    /// [`BridgeError::Conflict`] when the value changed since.
    pub async fn update<T: Serialize>(
        &self,
        bucket: Bucket,
        key: &str,
        value: &T,
        revision: u64,
    ) -> Result<u64, BridgeError> {
        self.write(bucket, key, value, records::WriteMode::Update { revision, ttl: None }).await
    }

    /// Replaces the value read at `revision` by one that goes away after `ttl`, and returns the new
    /// revision.
    ///
    /// # Errors
    ///
    /// [`BridgeError::Conflict`] when the value changed since.
    pub async fn update_with_ttl<T: Serialize>(
        &self,
        bucket: Bucket,
        key: &str,
        value: &T,
        revision: u64,
        ttl: Duration,
    ) -> Result<u64, BridgeError> {
        let mode = records::WriteMode::Update { revision, ttl: Some(ttl) };
        self.write(bucket, key, value, mode).await
    }

    /// Stores a value, whatever was there, and returns its revision.
    pub async fn put<T: Serialize>(
        &self,
        bucket: Bucket,
        key: &str,
        value: &T,
    ) -> Result<u64, BridgeError> {
        self.write(bucket, key, value, records::WriteMode::Put { ttl: None }).await
    }

    /// Stores a value that goes away after `ttl`, whatever was there, and returns its revision.
    pub async fn put_with_ttl<T: Serialize>(
        &self,
        bucket: Bucket,
        key: &str,
        value: &T,
        ttl: Duration,
    ) -> Result<u64, BridgeError> {
        self.write(bucket, key, value, records::WriteMode::Put { ttl: Some(ttl) }).await
    }

    /// Removes a key. One that is not there is fine.
    pub async fn remove(&self, bucket: Bucket, key: &str) -> Result<(), BridgeError> {
        self.0.ask(records::Remove { bucket, key: key.to_owned(), revision: None }).await?
    }

    /// Removes the value read at `revision`.
    ///
    /// # Errors
    ///
    /// [`BridgeError::Conflict`] when the value changed since.
    pub async fn remove_revision(
        &self,
        bucket: Bucket,
        key: &str,
        revision: u64,
    ) -> Result<(), BridgeError> {
        let revision = Some(revision);
        self.0.ask(records::Remove { bucket, key: key.to_owned(), revision }).await?
    }

    /// Sends a request to whoever serves `subject`, and returns the answer.
    ///
    /// # Errors
    ///
    /// [`BridgeError::NoResponder`] when nobody serves it, [`BridgeError::TimedOut`] when no answer
    /// came within `deadline`, [`BridgeError::Refused`] with the refusal of whoever serves it.
    pub async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        subject: String,
        body: &Q,
        deadline: Duration,
    ) -> Result<A, BridgeError> {
        let body = Versioned::encode(body);
        let answer = self.0.ask(requests::SendRequest { subject, body, deadline }).await??;
        Reply::decode(&answer).map_err(BridgeError::Refused)
    }

    /// Has requests on `subject`, which may hold wildcards, told to `to`, until
    /// [`Bridge::stop_serving`]. Restarts and reconnects end nothing.
    pub async fn serve(
        &self,
        subject: String,
        to: Recipient<IncomingRequest>,
    ) -> Result<(), BridgeError> {
        self.0.ask(requests::Subscribe { subject, route: Route { to, group: None } }).await?;
        Ok(())
    }

    /// Serves as [`Bridge::serve`] does, and shares `subject` with all units that serve it in
    /// `group`: each request is told to one of them.
    pub async fn serve_in_group(
        &self,
        subject: String,
        group: &'static str,
        to: Recipient<IncomingRequest>,
    ) -> Result<(), BridgeError> {
        self.0
            .ask(requests::Subscribe { subject, route: Route { to, group: Some(group) } })
            .await?;
        Ok(())
    }

    /// Ends [`Bridge::serve`] and [`Bridge::serve_in_group`] for `subject`.
    pub async fn stop_serving(&self, subject: &str) -> Result<(), BridgeError> {
        self.0.ask(requests::Unsubscribe { subject: subject.to_owned() }).await?;
        Ok(())
    }

    /// Returns how long the bucket exists and NATS is connected. Ask before concluding anything
    /// from a *missing* key.
    ///
    /// # Errors
    ///
    /// [`BridgeError::Disconnected`] also while a store that was lost is not checked again.
    pub async fn continuity(&self, bucket: Bucket) -> Result<Continuity, BridgeError> {
        Ok(self.0.ask(continuity::GetBucketState(bucket)).await??.continuity)
    }

    /// Returns the time by the clock of NATS, which all units share: what one writes into a
    /// document another judges. Until NATS was reached for the first time it is that of the system.
    pub fn now(&self) -> Timestamp {
        self.1.now(Instant::now())
    }

    /// Returns by how much the clock of this system differs from that of NATS.
    pub fn clock_skew(&self) -> Duration {
        self.1.skew(SystemTime::now(), Instant::now())
    }

    /// Returns what no other store is called; `None` until NATS was reached for the first time. A
    /// store that was lost and made anew is another one.
    pub fn store_id(&self) -> Option<String> {
        self.1.store_id()
    }

    /// Returns whether NATS is connected and stores what it is given, and if not, why.
    pub async fn status(&self) -> ConnectionStatus {
        match self.0.ask(status::GetStatus).await {
            Ok(status) => status,
            Err(error) => ConnectionStatus {
                connected: false,
                server: None,
                servers: 0,
                error: Some(error.to_string()),
            },
        }
    }

    /// Returns where calls are measured that do not pass the actor.
    pub(crate) fn metrics(&self) -> &NatsMetrics {
        &self.2
    }

    async fn write<T: Serialize>(
        &self,
        bucket: Bucket,
        key: &str,
        value: &T,
        mode: records::WriteMode,
    ) -> Result<u64, BridgeError> {
        let value = Versioned::encode(value).into();
        self.0.ask(records::Write { bucket, key: key.to_owned(), value, mode }).await?
    }
}

impl Collect for Bridge {
    fn collect(&self, exposition: &mut Exposition) {
        self.2.collect(exposition);
    }
}
