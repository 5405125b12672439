//! What the buckets and the stream of signals look like, and making sure that they exist.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::context::{
    CreateKeyValueErrorKind, GetStreamError, GetStreamErrorKind, KeyValueError,
};
use async_nats::jetstream::stream::{
    Config as StreamConfig, DiscardPolicy, Republish, Source, StorageType,
};
use async_nats::jetstream::{ErrorCode, kv};
use futures_util::future::try_join_all;
use stream_protocol::subjects::{self, Bucket, NatsUser};
use stream_protocol::{MAX_SIGNAL_BYTES, SignalQuota, error_chain};

use crate::BridgeError;
use crate::connection::{Connection, with_timeout};
use crate::signal_log::SignalLog;

/// How long the store tells that a record was removed, or went away by itself.
pub const MARKER_TTL: Duration = Duration::from_secs(60);

/// A stored signal is the signal itself and what we write around it.
const MAX_MESSAGE_BYTES: i32 = (MAX_SIGNAL_BYTES + 4096) as i32;

/// How long the log keeps a signal.
pub const MAX_SIGNAL_AGE: Duration = Duration::from_secs(600);

/// How long the log knows a signal again that is written twice. A client that slept with a signal
/// on its way can come back for as long as its last reconnect token is good, 300 s.
const REPEAT_WINDOW: Duration = Duration::from_secs(360);

/// How many signals the log keeps for each direction of a session; the oldest go first.
const MAX_MESSAGES_PER_SUBJECT: i64 = 20_000;

// A writer that uses its quota up pushes nothing out of the log before its time. Windows are fixed,
// so that one more than fits into the age may count.
const _: () = {
    let windows = MAX_SIGNAL_AGE.as_secs() / SignalQuota::WINDOW.as_secs() + 1;
    assert!(SignalQuota::SIGNALS as u64 * windows < MAX_MESSAGES_PER_SUBJECT as u64);
};

/// How long the last signal of a subject is known when the log has dropped it. Nobody holds a
/// cursor for longer.
const MAX_END_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long what happened to a session is told: as long as its document after the end.
const MAX_TIMELINE_AGE: Duration = Duration::from_secs(3600);

/// How much is told of one session; the oldest goes first.
const MAX_TIMELINE_ENTRIES: i64 = 100;

/// The subjects of stored signals, in the words of a republish rule.
const SIGNAL_SUBJECTS: &str = "stream.v1.signal.>";

/// Buckets and signal log behind a connection, which were made sure to exist; cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) log: SignalLog,
    pub(crate) jetstream: jetstream::Context,
    connection: Connection,
    buckets: Arc<HashMap<Bucket, kv::Store>>,
    /// Whether several servers of a cluster hold a record.
    is_replicated: bool,
}

impl Store {
    /// Creates the buckets of `user` and the streams that are missing.
    ///
    /// # Errors
    ///
    /// One sentence why the store cannot be used.
    pub(crate) async fn prepare(
        connection: Connection,
        user: NatsUser,
        replicas: usize,
    ) -> Result<Self, String> {
        let context = connection.jetstream();
        let jetstream = &context;
        // All at once: servers of a new cluster elect a leader for each.
        let buckets = user.buckets().iter().map(async |bucket| {
            open(jetstream, *bucket, replicas).await.map(|store| (*bucket, store))
        });
        let buckets: HashMap<_, _> = try_join_all(buckets).await?.into_iter().collect();
        let streams =
            [signals_config(replicas), signal_ends_config(replicas), timeline_config(replicas)];
        for config in streams {
            let name = config.name.clone();
            let stream = jetstream.get_or_create_stream(config).await;
            stream.map_err(|error| format!("stream {name}: {}", error_chain(&error)))?;
        }
        let log = SignalLog::open(connection.clone()).await?;
        // An operator may have changed that of a bucket which exists.
        let of = |bucket: &kv::Store| bucket.stream.cached_info().config.num_replicas;
        let is_replicated = replicas > 1 || buckets.values().any(|bucket| of(bucket) > 1);
        let buckets = Arc::new(buckets);
        Ok(Self { log, jetstream: context, connection, buckets, is_replicated })
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Returns a bucket that the user of this unit opens.
    ///
    /// # Errors
    ///
    /// [`BridgeError::ForeignBucket`] for all others.
    pub(crate) fn bucket(&self, bucket: Bucket) -> Result<&kv::Store, BridgeError> {
        self.buckets.get(&bucket).ok_or(BridgeError::ForeignBucket(bucket.name()))
    }

    /// Whether several servers hold the records: any of them answers an ordinary read, and may lag
    /// behind the one that leads.
    pub(crate) fn is_replicated(&self) -> bool {
        self.is_replicated
    }

    /// Returns what the leading server says of the stream behind `bucket`.
    pub(crate) async fn info(
        &self,
        bucket: Bucket,
    ) -> Result<jetstream::stream::Info, BridgeError> {
        let info = with_timeout(self.bucket(bucket)?.stream.get_info()).await?;
        info.map_err(BridgeError::disconnected)
    }
}

/// Returns the subject of the messages that hold the record under `key`.
pub(crate) fn record_subject(bucket: Bucket, key: &str) -> String {
    format!("$KV.{}.{key}", bucket.name())
}

/// Returns where the changes of a record are published once they are stored.
pub(crate) fn live_subject(bucket: Bucket, key: &str) -> String {
    format!("{}.kv.{}.{key}", subjects::LIVE, bucket.name())
}

async fn open(
    jetstream: &jetstream::Context,
    bucket: Bucket,
    replicas: usize,
) -> Result<kv::Store, String> {
    let sentence =
        |error: &dyn std::error::Error| format!("bucket {}: {}", bucket.name(), error_chain(error));
    // An operator may have changed the settings of a bucket that exists: leave it as it is.
    match jetstream.get_key_value(bucket.name()).await {
        Err(error) if is_missing(&error) => {}
        found => return found.map_err(|error| sentence(&error)),
    }
    match jetstream.create_key_value(bucket_config(bucket, replicas)).await {
        // Nobody leads the cluster yet: the next attempt finds whether it was made.
        Err(error) if error.kind() == CreateKeyValueErrorKind::TimedOut => Err(sentence(&error)),
        // Another unit may have been faster.
        Err(error) => {
            let existing = jetstream.get_key_value(bucket.name()).await;
            existing.map_err(|_| sentence(&error))
        }
        Ok(store) => Ok(store),
    }
}

/// Whether the server says that there is no such bucket, rather than nothing.
fn is_missing(error: &KeyValueError) -> bool {
    let stream = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    let kind = stream.map(GetStreamError::kind);
    matches!(kind, Some(GetStreamErrorKind::JetStream(error))
        if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn bucket_config(bucket: Bucket, replicas: usize) -> kv::Config {
    let common = kv::Config {
        bucket: bucket.name().to_owned(),
        history: 1,
        max_value_size: 64 * 1024,
        max_bytes: max_bytes(bucket),
        storage: StorageType::File,
        num_replicas: replicas,
        // Needed for records that go away by themselves, and for hearing of it.
        limit_markers: Some(MARKER_TTL),
        ..Default::default()
    };
    match bucket {
        Bucket::Agents | Bucket::Clients => {
            // Each record says itself how long it is good.
            kv::Config { storage: StorageType::Memory, max_age: Duration::from_secs(60), ..common }
        }
        // What others wait for is published: an end, a revocation, a rotation.
        Bucket::KeysAgent | Bucket::KeysGateway | Bucket::Revoked | Bucket::Sessions => {
            kv::Config {
                republish: Some(Republish {
                    source: record_subject(bucket, ">"),
                    destination: live_subject(bucket, ">"),
                    headers_only: true,
                }),
                ..common
            }
        }
        _ => common,
    }
}

/// Returns how many bytes a bucket may hold, which the server sets aside when it makes the bucket:
/// one that fills up takes no room from another, nor from the log. A full bucket refuses what is
/// new, which is told as a store that does not store; what is removed or goes away by itself makes
/// room. A bucket that exists keeps its limit, or none.
fn max_bytes(bucket: Bucket) -> i64 {
    const MIB: i64 = 1 << 20;
    match bucket {
        // In memory. A lease has some 200 bytes, a presence less than 1 KiB.
        Bucket::Agents | Bucket::Clients => 32 * MIB,
        Bucket::Endpoints | Bucket::KeysAgent | Bucket::KeysGateway => 16 * MIB,
        Bucket::Settings => MIB,
        Bucket::Accounts => 64 * MIB,
        Bucket::Catalogues | Bucket::Revoked | Bucket::Shares => 128 * MIB,
        // A document has 1 to 2 KiB, and what its client gave along. A bucket without room would
        // keep sessions from ending, too.
        Bucket::Sessions => 1024 * MIB,
    }
}

fn signals_config(replicas: usize) -> StreamConfig {
    StreamConfig {
        name: subjects::SIGNALS.to_owned(),
        subjects: vec![subjects::ALL_SIGNALS.to_owned()],
        storage: StorageType::File,
        num_replicas: replicas,
        max_age: MAX_SIGNAL_AGE,
        max_bytes: 1 << 30,
        max_message_size: MAX_MESSAGE_BYTES,
        max_messages_per_subject: MAX_MESSAGES_PER_SUBJECT,
        discard: DiscardPolicy::Old,
        duplicate_window: REPEAT_WINDOW,
        allow_direct: true,
        deny_delete: true,
        republish: Some(Republish {
            source: SIGNAL_SUBJECTS.to_owned(),
            destination: format!("{}.{SIGNAL_SUBJECTS}", subjects::LIVE),
            headers_only: false,
        }),
        ..Default::default()
    }
}

/// The server itself copies: no death of ours can keep a signal out.
fn signal_ends_config(replicas: usize) -> StreamConfig {
    let signals = Source { name: subjects::SIGNALS.to_owned(), ..Default::default() };
    StreamConfig {
        name: subjects::SIGNAL_ENDS.to_owned(),
        sources: Some(vec![signals]),
        storage: StorageType::File,
        num_replicas: replicas,
        max_age: MAX_END_AGE,
        max_bytes: 256 << 20,
        max_messages_per_subject: 1,
        discard: DiscardPolicy::Old,
        deny_delete: true,
        ..Default::default()
    }
}

/// Nobody waits for an acknowledgement, so nothing may keep one entry from being written but the
/// want of room, which the oldest give.
fn timeline_config(replicas: usize) -> StreamConfig {
    StreamConfig {
        name: subjects::TIMELINE.to_owned(),
        subjects: vec![subjects::ALL_TIMELINES.to_owned()],
        storage: StorageType::File,
        num_replicas: replicas,
        max_age: MAX_TIMELINE_AGE,
        max_bytes: 128 << 20,
        max_message_size: 4096,
        max_messages_per_subject: MAX_TIMELINE_ENTRIES,
        discard: DiscardPolicy::Old,
        allow_direct: true,
        deny_delete: true,
        no_ack: true,
        ..Default::default()
    }
}
