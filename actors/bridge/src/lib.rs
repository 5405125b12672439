//! NATS: requests, the key-value store and the signal log. The only crate that knows async-nats.
//!
//! Owns the connection of this process; threads that carry signals have one more each ([`SignalConnection`]).
//! Everybody of a higher row asks it; upward it only tells: a request that arrives goes to the
//! [`Recipient`] that serves its subject. A restart of the actor goes on with the connection if it
//! still stands, else makes another, and serves the same subjects; nothing that NATS acknowledged
//! is lost. While NATS is away every question is answered
//! [`BridgeError::Disconnected`] at once, and the connection is tried again with growing pauses.

mod actor;
mod batch;
mod change_hints;
mod changes;
mod connect;
mod continuity;
mod credentials;
mod error;
mod requests;
mod sealed_record;
mod session_documents;
mod signal_connection;
mod signal_log;
mod signal_reader;
mod signal_writer;
mod store;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stream_protocol::subjects::Bucket;
use stream_protocol::{Cursor, Direction, NewSignal, Reply, SessionId, Versioned};
use stream_supervisor::{Limits, Mailbox, Mode, Recipient, RestartPolicy, Supervisor};

pub use change_hints::ChangeHints;
pub use connect::ConnectionStatus;
pub use continuity::Continuity;
pub use error::{BridgeError, ConfigError};
pub use requests::IncomingRequest;
pub use sealed_record::{SealedError, SealedRecord, change_sealed, follow_sealed};
pub use signal_connection::SignalConnection;
pub use signal_reader::SignalReader;
pub use signal_writer::SignalWriter;
pub use store::MARKER_TTL;

use actor::{Actor, SharedState};
use requests::Route;

/// How to reach NATS.
///
/// A token is full trust: the server gives a token client every permission of its account. Where
/// that is too much, use a credentials file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses, `tls://host:port`; any of them will do.
    pub servers: Vec<String>,
    /// PEM file with the CA that signed the servers' certificates.
    pub ca: PathBuf,
    /// File with the token, read anew at each connect. Either this or `credentials`.
    pub token: Option<PathBuf>,
    /// File with NATS credentials (JWT and nkey seed), read anew at each connect.
    pub credentials: Option<PathBuf>,
    /// PEM file with our certificate, when the servers ask for one.
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

/// The address of the bridge.
#[derive(Clone)]
pub struct Bridge(Mailbox<Actor>);

impl Bridge {
    /// Starts the actor; it connects in the background, as `unit`. Refuses a configuration whose
    /// files cannot be read, before anything is started.
    pub fn start(config: Config, unit: &str, supervisor: &Supervisor) -> Result<Self, ConfigError> {
        config.check()?;
        let shared = SharedState::default();
        let unit = unit.to_owned();
        let limits = Limits { mailbox_capacity: 8192, max_concurrent: 1024, ..Limits::default() };
        let factory = move || Actor::new(config.clone(), unit.clone(), shared.clone());
        Ok(Self(supervisor.spawn(
            "bridge",
            Mode::KeepInFlight,
            RestartPolicy::default(),
            limits,
            factory,
        )))
    }

    /// Returns the value under `key`, or `None`.
    pub async fn read<T: DeserializeOwned>(
        &self,
        bucket: Bucket,
        key: &str,
    ) -> Result<Option<Entry<T>>, BridgeError> {
        match self.0.ask(store::Read { bucket, key: key.to_owned() }).await?? {
            Some(entry) => entry.decode().map(Some),
            None => Ok(None),
        }
    }

    /// Stores a value under a new key and returns its revision; [`BridgeError::Conflict`] when the
    /// key exists.
    pub async fn create<T: Serialize>(
        &self,
        bucket: Bucket,
        key: &str,
        value: &T,
    ) -> Result<u64, BridgeError> {
        self.write(bucket, key, value, store::WriteMode::Create).await
    }

    /// Replaces the value read at `revision`; [`BridgeError::Conflict`] when it changed since.
    pub async fn update<T: Serialize>(
        &self,
        bucket: Bucket,
        key: &str,
        value: &T,
        revision: u64,
    ) -> Result<u64, BridgeError> {
        self.write(bucket, key, value, store::WriteMode::Update { revision, ttl: None }).await
    }

    /// Replaces the value read at `revision` by one that goes away after `ttl`.
    pub async fn update_with_ttl<T: Serialize>(
        &self,
        bucket: Bucket,
        key: &str,
        value: &T,
        revision: u64,
        ttl: Duration,
    ) -> Result<u64, BridgeError> {
        self.write(bucket, key, value, store::WriteMode::Update { revision, ttl: Some(ttl) }).await
    }

    /// Stores a value, whatever was there.
    pub async fn put<T: Serialize>(
        &self,
        bucket: Bucket,
        key: &str,
        value: &T,
    ) -> Result<u64, BridgeError> {
        self.write(bucket, key, value, store::WriteMode::Put { ttl: None }).await
    }

    /// Stores a value that goes away after `ttl`, whatever was there.
    pub async fn put_with_ttl<T: Serialize>(
        &self,
        bucket: Bucket,
        key: &str,
        value: &T,
        ttl: Duration,
    ) -> Result<u64, BridgeError> {
        self.write(bucket, key, value, store::WriteMode::Put { ttl: Some(ttl) }).await
    }

    /// Removes a key; one that is not there is fine.
    pub async fn remove(&self, bucket: Bucket, key: &str) -> Result<(), BridgeError> {
        self.0.ask(store::Remove { bucket, key: key.to_owned() }).await?
    }

    /// Returns hints that tell when the value under `key` may have changed; with the key `>`,
    /// when any value of the bucket may have. Only the buckets of sessions, of keys and of what is
    /// revoked are published live.
    pub async fn subscribe_changes(
        &self,
        bucket: Bucket,
        key: &str,
    ) -> Result<ChangeHints, BridgeError> {
        self.0
            .ask(change_hints::SubscribeChanges { subject: store::live_subject(bucket, key) })
            .await?
    }

    /// Stores a signal and returns its cursor once the log has acknowledged it. The same id written
    /// again is stored once and answered with the first cursor.
    pub async fn append(
        &self,
        session: &SessionId,
        direction: Direction,
        posted: &NewSignal,
    ) -> Result<Cursor, BridgeError> {
        SignalConnection::shared(self).writer(session, direction).append(posted).await
    }

    /// Reads as [`SignalConnection::reader`] does, over the connection of the bridge.
    pub fn signal_reader(
        &self,
        session: &SessionId,
        direction: Direction,
        after: Option<Cursor>,
        generation: u64,
    ) -> SignalReader {
        SignalConnection::shared(self).reader(session, direction, after, generation)
    }

    /// Asks whoever serves `subject`. A typed refusal of theirs is [`BridgeError::Refused`].
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

    /// Has requests on `subject`, which may hold wildcards, told to `to`; now and after every
    /// restart and reconnect, until withdrawn.
    pub async fn serve(
        &self,
        subject: String,
        to: Recipient<IncomingRequest>,
    ) -> Result<(), BridgeError> {
        self.0.ask(requests::Subscribe { subject, route: Route { to, group: None } }).await?;
        Ok(())
    }

    /// The same, sharing `subject` with all units that serve it in `group`: a request is told to
    /// one of them.
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

    /// Ends [`Bridge::serve`] or [`Bridge::serve_in_group`] for `subject`.
    pub async fn stop_serving(&self, subject: &str) -> Result<(), BridgeError> {
        self.0.ask(requests::Unsubscribe { subject: subject.to_owned() }).await?;
        Ok(())
    }

    /// Returns how far what is not in `bucket` can be believed not to be: how old it is, and for
    /// how long NATS has been reached.
    pub async fn continuity(&self, bucket: Bucket) -> Result<Continuity, BridgeError> {
        self.0.ask(continuity::GetContinuity(bucket)).await?
    }

    /// Returns whether NATS is connected, and if not, why.
    pub async fn status(&self) -> ConnectionStatus {
        match self.0.ask(connect::GetStatus).await {
            Ok(link) => link,
            Err(error) => {
                ConnectionStatus { connected: false, server: None, error: Some(error.to_string()) }
            }
        }
    }

    async fn write<T: Serialize>(
        &self,
        bucket: Bucket,
        key: &str,
        value: &T,
        mode: store::WriteMode,
    ) -> Result<u64, BridgeError> {
        let value = Versioned::encode(value).into();
        self.0.ask(store::Write { bucket, key: key.to_owned(), value, mode }).await?
    }
}
