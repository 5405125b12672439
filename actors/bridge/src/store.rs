//! The key-value store: what the buckets and the signal stream look like, and the work on them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use async_nats::Client;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    Config as StreamConfig, DiscardPolicy, RawMessageErrorKind, Republish, StorageType,
};
use async_nats::jetstream::{self, kv};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use stream_protocol::subjects::{self, Bucket};
use stream_protocol::{MAX_SIGNAL_BYTES, Versioned};
use stream_supervisor::{Context, Handler, Reply};
use tokio::sync::watch;

use crate::actor::{Actor, Connection};
use crate::batch;
use crate::connect::error_chain;
use crate::signal_log::SignalLog;
use crate::{BridgeError, Entry};

/// How long the store tells that a record was removed, or went away by itself.
pub const MARKER_TTL: Duration = Duration::from_secs(60);

/// How long one answer of the store may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// A stored signal is the signal itself and what we write around it.
const MAX_MESSAGE_BYTES: i32 = (MAX_SIGNAL_BYTES + 4096) as i32;

/// A value as it lies in the store.
pub(crate) type RawEntry = Entry<Bytes>;

impl RawEntry {
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<Entry<T>, BridgeError> {
        let value = Versioned::decode(&self.value)
            .map_err(|refusal| BridgeError::Malformed(refusal.message))?;
        Ok(Entry { value, revision: self.revision })
    }
}

/// Where the changes of a record are published once they are stored.
pub(crate) fn live_subject(bucket: Bucket, key: &str) -> String {
    format!("{}.kv.{}.{key}", subjects::LIVE, bucket.name())
}

/// Makes sure that buckets and stream exist, and returns the connection ready for use; otherwise
/// one sentence why not.
pub(crate) async fn prepare(
    client: Client,
    replicas: usize,
    reconnects: watch::Receiver<u64>,
) -> Result<Connection, String> {
    let jetstream = jetstream(&client);
    let mut stores = HashMap::new();
    for bucket in Bucket::ALL {
        stores.insert(bucket, open(&jetstream, bucket, replicas).await?);
    }
    let config = signals_config(replicas);
    let stream = jetstream.get_or_create_stream(config).await;
    stream.map_err(|error| format!("the stream of signals: {}", error_chain(&error)))?;
    let log = SignalLog::open(client, reconnects).await?;
    Ok(Connection { log, stores: Arc::new(stores), replicas })
}

pub(crate) fn jetstream(client: &Client) -> jetstream::Context {
    let mut jetstream = jetstream::new(client.clone());
    jetstream.set_timeout(REQUEST_TIMEOUT);
    jetstream
}

async fn open(
    jetstream: &jetstream::Context,
    bucket: Bucket,
    replicas: usize,
) -> Result<kv::Store, String> {
    // An operator may have changed the settings of a bucket that exists: leave it as it is.
    if let Ok(store) = jetstream.get_key_value(bucket.name()).await {
        return Ok(store);
    }
    match jetstream.create_key_value(bucket_config(bucket, replicas)).await {
        Ok(store) => Ok(store),
        // Another unit may have been faster.
        Err(error) => jetstream
            .get_key_value(bucket.name())
            .await
            .map_err(|_| format!("bucket {}: {}", bucket.name(), error_chain(&error))),
    }
}

fn bucket_config(bucket: Bucket, replicas: usize) -> kv::Config {
    let common = kv::Config {
        bucket: bucket.name().to_owned(),
        history: 1,
        max_value_size: 64 * 1024,
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
        Bucket::Keys | Bucket::Revoked | Bucket::Sessions => kv::Config {
            republish: Some(Republish {
                source: format!("$KV.{}.>", bucket.name()),
                destination: live_subject(bucket, ">"),
                headers_only: true,
            }),
            ..common
        },
        _ => common,
    }
}

fn signals_config(replicas: usize) -> StreamConfig {
    let all = "stream.v1.signal.>";
    StreamConfig {
        name: subjects::SIGNALS.to_owned(),
        subjects: vec![subjects::ALL_SIGNALS.to_owned()],
        storage: StorageType::File,
        num_replicas: replicas,
        max_age: Duration::from_secs(600),
        max_bytes: 1 << 30,
        max_message_size: MAX_MESSAGE_BYTES,
        // More than the write limit of a session lets in within `max_age`.
        max_messages_per_subject: 20_000,
        discard: DiscardPolicy::Old,
        duplicate_window: Duration::from_secs(120),
        allow_direct: true,
        deny_delete: true,
        republish: Some(Republish {
            source: all.to_owned(),
            destination: format!("{}.{all}", subjects::LIVE),
            headers_only: false,
        }),
        ..Default::default()
    }
}

/// Reads one record.
#[derive(Message)]
#[rtype(result = "Result<Option<RawEntry>, BridgeError>")]
pub(crate) struct Read {
    pub(crate) bucket: Bucket,
    pub(crate) key: String,
}

/// Writes one record and answers its revision.
#[derive(Message)]
#[rtype(result = "Result<u64, BridgeError>")]
pub(crate) struct Write {
    pub(crate) bucket: Bucket,
    pub(crate) key: String,
    pub(crate) value: Bytes,
    pub(crate) mode: WriteMode,
}

#[derive(Clone, Copy)]
pub(crate) enum WriteMode {
    Create,
    Put { ttl: Option<Duration> },
    Update { revision: u64, ttl: Option<Duration> },
}

/// Removes one record.
#[derive(Message)]
#[rtype(result = "Result<(), BridgeError>")]
pub(crate) struct Remove {
    pub(crate) bucket: Bucket,
    pub(crate) key: String,
}

impl Handler<Read> for Actor {
    fn handle(
        &mut self,
        read: &Read,
        _: &Context<Self>,
    ) -> Reply<Result<Option<RawEntry>, BridgeError>> {
        let Read { bucket, key } = read;
        let (bucket, key) = (*bucket, key.clone());
        self.with_store(async move |nats| {
            let store = &nats.stores[&bucket];
            if nats.replicas > 1 {
                return read_from_leader(store, key).await;
            }
            let entry = with_timeout(store.entry(key)).await?;
            let entry = entry.map_err(|error| match error.kind() {
                kv::EntryErrorKind::TimedOut => BridgeError::TimedOut,
                _ => BridgeError::Disconnected(error_chain(&error)),
            })?;
            let stored = entry.filter(|entry| entry.operation == kv::Operation::Put);
            Ok(stored.map(|entry| RawEntry { value: entry.value, revision: entry.revision }))
        })
    }
}

/// Reads a record from the server that leads. Any server answers an ordinary read, and of several
/// that hold the record one may lag: whoever has just heard of a change must not miss it there.
async fn read_from_leader(store: &kv::Store, key: String) -> Result<Option<RawEntry>, BridgeError> {
    let subject = format!("$KV.{}.{key}", store.name);
    let message = with_timeout(store.stream.get_last_raw_message_by_subject(&subject)).await?;
    let message = match message {
        Ok(message) => message,
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(None),
        Err(error) => return Err(BridgeError::Disconnected(error_chain(&error))),
    };
    let stored = !batch::is_delete_marker(&message.headers);
    Ok(stored.then_some(RawEntry { value: message.payload, revision: message.sequence }))
}

impl Handler<Write> for Actor {
    fn handle(&mut self, write: &Write, _: &Context<Self>) -> Reply<Result<u64, BridgeError>> {
        let Write { bucket, key, value, mode } = write;
        let (bucket, key, value, mode) = (*bucket, key.clone(), value.clone(), *mode);
        self.with_store(async move |nats| {
            let store = &nats.stores[&bucket];
            match mode {
                WriteMode::Create => {
                    with_timeout(store.create(key, value)).await?.map_err(|error| {
                        match error.kind() {
                            kv::CreateErrorKind::AlreadyExists => BridgeError::Conflict,
                            _ => BridgeError::Disconnected(error_chain(&error)),
                        }
                    })
                }
                WriteMode::Put { ttl: None } => {
                    let put = with_timeout(store.put(key, value)).await?;
                    put.map_err(|error| BridgeError::Disconnected(error_chain(&error)))
                }
                WriteMode::Put { ttl: Some(ttl) } => {
                    let message = PublishMessage::build().payload(value).ttl(ttl);
                    publish(&nats.log.jetstream, bucket, &key, message).await
                }
                WriteMode::Update { revision, ttl: None } => {
                    with_timeout(store.update(key, value, revision)).await?.map_err(|error| {
                        match error.kind() {
                            kv::UpdateErrorKind::WrongLastRevision => BridgeError::Conflict,
                            kv::UpdateErrorKind::TimedOut => BridgeError::TimedOut,
                            _ => BridgeError::Disconnected(error_chain(&error)),
                        }
                    })
                }
                WriteMode::Update { revision, ttl: Some(ttl) } => {
                    let message = PublishMessage::build().payload(value).ttl(ttl);
                    let message = message.expected_last_subject_sequence(revision);
                    publish(&nats.log.jetstream, bucket, &key, message).await
                }
            }
        })
    }
}

/// The client writes no record with a time to live; on the wire it is one header more.
async fn publish(
    jetstream: &jetstream::Context,
    bucket: Bucket,
    key: &str,
    message: PublishMessage,
) -> Result<u64, BridgeError> {
    let subject = format!("$KV.{}.{key}", bucket.name());
    let sent = with_timeout(jetstream.send_publish(subject, message)).await?;
    let acknowledged = sent.map_err(|error| BridgeError::Disconnected(error_chain(&error)))?.await;
    acknowledged.map(|ack| ack.sequence).map_err(|error| match error.kind() {
        jetstream::context::PublishErrorKind::WrongLastSequence => BridgeError::Conflict,
        jetstream::context::PublishErrorKind::TimedOut => BridgeError::TimedOut,
        _ => BridgeError::Disconnected(error_chain(&error)),
    })
}

impl Handler<Remove> for Actor {
    fn handle(&mut self, remove: &Remove, _: &Context<Self>) -> Reply<Result<(), BridgeError>> {
        let Remove { bucket, key } = remove;
        let (bucket, key) = (*bucket, key.clone());
        self.with_store(async move |nats| {
            let purged = with_timeout(nats.stores[&bucket].purge_with_ttl(key, MARKER_TTL)).await?;
            purged.map_err(|error| BridgeError::Disconnected(error_chain(&error)))
        })
    }
}

/// Bounds one question to the store.
pub(crate) async fn with_timeout<T>(work: impl IntoFuture<Output = T>) -> Result<T, BridgeError> {
    tokio::time::timeout(REQUEST_TIMEOUT, work).await.map_err(|_| BridgeError::TimedOut)
}
