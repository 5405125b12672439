//! Reading, writing and removing single records.

use std::time::Duration;

use actix::Message;
use async_nats::jetstream::kv;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use stream_protocol::Versioned;
use stream_protocol::subjects::Bucket;
use stream_supervisor::{Context, Handler, Reply};

use crate::actor::Actor;
use crate::buckets::{MARKER_TTL, Store, record_subject};
use crate::connection::{publish, with_timeout};
use crate::store_health::write_error;
use crate::{BridgeError, Entry, batch};

/// A value as it lies in the store.
pub(crate) type RawEntry = Entry<Bytes>;

impl RawEntry {
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<Entry<T>, BridgeError> {
        let value = Versioned::decode(&self.value)
            .map_err(|refusal| BridgeError::Malformed(refusal.message))?;
        Ok(Entry { value, revision: self.revision })
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

/// What a write takes for granted, and how long the record stays: for ever without a `ttl`.
#[derive(Clone, Copy)]
pub(crate) enum WriteMode {
    /// There is no record.
    Create,
    /// Whatever is there.
    Put { ttl: Option<Duration> },
    /// The record is still the one of `revision`.
    Update { revision: u64, ttl: Option<Duration> },
}

/// Removes one record.
#[derive(Message)]
#[rtype(result = "Result<(), BridgeError>")]
pub(crate) struct Remove {
    pub(crate) bucket: Bucket,
    pub(crate) key: String,
    /// `None` removes whatever is there.
    pub(crate) revision: Option<u64>,
}

impl Handler<Read> for Actor {
    fn handle(
        &mut self,
        read: &Read,
        _: &Context<Self>,
    ) -> Reply<Result<Option<RawEntry>, BridgeError>> {
        let (bucket, key) = (read.bucket, read.key.clone());
        self.with_store("read", async move |store: &Store| {
            if store.is_replicated() {
                return read_from_leader(store, bucket, &key).await;
            }
            let entry = with_timeout(store.bucket(bucket)?.entry(key)).await?;
            let entry = entry.map_err(|error| match error.kind() {
                kv::EntryErrorKind::TimedOut => BridgeError::TimedOut,
                _ => BridgeError::disconnected(error),
            })?;
            let stored = entry.filter(|entry| entry.operation == kv::Operation::Put);
            Ok(stored.map(|entry| RawEntry { value: entry.value, revision: entry.revision }))
        })
    }
}

/// Reads a record from the server that leads. Whoever has just heard of a change must not miss it
/// on a server that lags.
async fn read_from_leader(
    store: &Store,
    bucket: Bucket,
    key: &str,
) -> Result<Option<RawEntry>, BridgeError> {
    let (stream, subject) = (&store.bucket(bucket)?.stream, record_subject(bucket, key));
    let message = match with_timeout(stream.get_last_raw_message_by_subject(&subject)).await? {
        Ok(message) => message,
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(None),
        Err(error) => return Err(BridgeError::disconnected(error)),
    };
    let stored = !batch::is_delete_marker(&message.headers);
    Ok(stored.then_some(RawEntry { value: message.payload, revision: message.sequence }))
}

impl Handler<Write> for Actor {
    fn handle(&mut self, write: &Write, _: &Context<Self>) -> Reply<Result<u64, BridgeError>> {
        let Write { bucket, key, value, mode } = write;
        let (bucket, key, value, mode) = (*bucket, key.clone(), value.clone(), *mode);
        self.with_store("write", async move |store: &Store| {
            let records = store.bucket(bucket)?;
            match mode {
                WriteMode::Create => {
                    store.connection().health.check()?;
                    let created = with_timeout(records.create(key, value)).await;
                    let created = created.and_then(|created| {
                        created.map_err(|error| match error.kind() {
                            kv::CreateErrorKind::AlreadyExists => BridgeError::Conflict,
                            _ => write_error(error),
                        })
                    });
                    store.connection().health.on_write(&created);
                    created
                }
                WriteMode::Put { ttl } => {
                    write_record(store, bucket, &key, message(value, ttl)).await
                }
                WriteMode::Update { revision, ttl } => {
                    let message = message(value, ttl).expected_last_subject_sequence(revision);
                    write_record(store, bucket, &key, message).await
                }
            }
        })
    }
}

async fn write_record(
    store: &Store,
    bucket: Bucket,
    key: &str,
    message: PublishMessage,
) -> Result<u64, BridgeError> {
    if !is_key(key) {
        return Err(BridgeError::Malformed(format!("{key:?} cannot be a key")));
    }
    publish(store.connection(), &store.jetstream, record_subject(bucket, key), message).await
}

/// Whether a record can lie under `key`: other characters would end the subject or match others.
fn is_key(key: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_=.".contains(&byte);
    !key.is_empty() && !key.starts_with('.') && !key.ends_with('.') && key.bytes().all(is_letter)
}

fn message(value: Bytes, ttl: Option<Duration>) -> PublishMessage {
    let message = PublishMessage::build().payload(value);
    match ttl {
        Some(ttl) => message.ttl(ttl),
        None => message,
    }
}

impl Handler<Remove> for Actor {
    fn handle(&mut self, remove: &Remove, _: &Context<Self>) -> Reply<Result<(), BridgeError>> {
        let (bucket, key, revision) = (remove.bucket, remove.key.clone(), remove.revision);
        self.with_store("remove", async move |store: &Store| {
            let records = store.bucket(bucket)?;
            let purged = async {
                match revision {
                    None => records.purge_with_ttl(key, MARKER_TTL).await,
                    Some(revision) => {
                        records.purge_expect_revision_with_ttl(key, revision, MARKER_TTL).await
                    }
                }
            };
            with_timeout(purged).await?.map_err(|error| match error.kind() {
                kv::PurgeErrorKind::WrongLastRevision => BridgeError::Conflict,
                _ => write_error(error),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_part_of_a_subject_and_matches_no_other() {
        for key in ["a", "agent.root", "session=2Eone", "A-z_0/9"] {
            assert!(is_key(key), "{key}");
        }
        for key in ["", ".", "a.", ".a", "a b", "*", "a.>", "a\r\nPUB x 0", "ä"] {
            assert!(!is_key(key), "{key}");
        }
    }
}
