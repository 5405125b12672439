//! Reading a bucket: all of it, or what was written and removed since.

use std::collections::BTreeMap;

use actix::Message;
use async_nats::jetstream::stream::{DirectGetErrorKind, RawMessageErrorKind};
use serde::de::DeserializeOwned;
use stream_protocol::subjects::Bucket;
use stream_supervisor::{Context, Handler, Reply};

use crate::actor::{Actor, Connection};
use crate::batch::{self, StoredMessage};
use crate::connect::error_chain;
use crate::store::{RawEntry, with_timeout};
use crate::{Bridge, BridgeError, Entry};

/// Whoever reads on asks for so many messages one by one before asking for many at once. There is
/// rarely more, and for each answer of many the server counts all that is left.
const MAX_SINGLE_READS: usize = 4;

/// Everything in a stream.
const ALL: &str = ">";

impl Bridge {
    /// Returns all values of a bucket by their keys. Values that cannot be read are left out and
    /// logged: one broken record must not hide the others.
    pub async fn list<T: DeserializeOwned>(
        &self,
        bucket: Bucket,
    ) -> Result<Vec<(String, Entry<T>)>, BridgeError> {
        // What is written meanwhile may come up twice.
        let mut found = BTreeMap::new();
        let on_entry = |key, entry| match entry {
            Some(entry) => drop(found.insert(key, entry)),
            None => drop(found.remove(&key)),
        };
        self.changes(bucket, 0, on_entry).await?;
        Ok(found.into_iter().collect())
    }

    /// Hands to `on_entry` what changed in a bucket after revision `after`; after 0 all there is. A key
    /// comes up at its latest, and once more when it changes meanwhile. One without an entry was
    /// removed, which is told for [`MARKER_TTL`](crate::MARKER_TTL) after it happened, or cannot be read,
    /// which is logged. Returns the revision after which to go on. Revisions count anew in a bucket
    /// that was made anew: see [`Bridge::continuity`].
    pub async fn changes<T: DeserializeOwned>(
        &self,
        bucket: Bucket,
        after: u64,
        mut on_entry: impl FnMut(String, Option<Entry<T>>),
    ) -> Result<u64, BridgeError> {
        let decode = |key: &str, raw: RawEntry| {
            let broken = |error: &BridgeError| {
                log::error!("record {key} of bucket {} left out: {error}", bucket.name());
            };
            raw.decode().inspect_err(broken).ok()
        };
        self.raw_changes(bucket, after, |key, raw| {
            let entry = raw.and_then(|raw| decode(&key, raw));
            on_entry(key, entry);
        })
        .await
    }

    /// Hands to `on_entry` the keys written after revision `after`, with the revisions they have now
    /// and in the order of these; after 0 all keys of the bucket. What is stored under them is not
    /// looked at. Whoever reads on after an error, or after this was dropped, need not read again
    /// what was handed over.
    pub async fn keys(
        &self,
        bucket: Bucket,
        after: u64,
        mut on_entry: impl FnMut(&str, u64),
    ) -> Result<(), BridgeError> {
        let on_entry = |key: String, raw: Option<RawEntry>| {
            if let Some(raw) = raw {
                on_entry(&key, raw.revision);
            }
        };
        self.raw_changes(bucket, after, on_entry).await.map(drop)
    }

    async fn raw_changes(
        &self,
        bucket: Bucket,
        mut after: u64,
        mut on_entry: impl FnMut(String, Option<RawEntry>),
    ) -> Result<u64, BridgeError> {
        let mut until = None;
        loop {
            let page = self.0.ask(ReadPage { bucket, after, until }).await??;
            page.entries.into_iter().for_each(|(key, raw)| on_entry(key, raw));
            (after, until) = (page.last, Some(page.until));
            if page.complete {
                return Ok(after);
            }
        }
    }
}

/// Reads some of the records of a bucket that were written after a revision, 0 being before all. A
/// large bucket is read with several questions: so nobody holds all of it as it lies in the store,
/// and what somebody reads who has gone meanwhile is not read to the end.
#[derive(Message)]
#[rtype(result = "Result<EntryPage, BridgeError>")]
pub(crate) struct ReadPage {
    pub(crate) bucket: Bucket,
    pub(crate) after: u64,
    /// As the answer before said.
    pub(crate) until: Option<u64>,
}

/// A part of a bucket.
pub(crate) struct EntryPage {
    /// A key that was removed has no record.
    pub(crate) entries: Vec<(String, Option<RawEntry>)>,
    /// The revision after which to go on.
    pub(crate) last: u64,
    /// How far to go at least: what was there when the first part was asked for.
    pub(crate) until: u64,
    /// Whether this was all.
    pub(crate) complete: bool,
}

impl Handler<ReadPage> for Actor {
    fn handle(
        &mut self,
        read: &ReadPage,
        _: &Context<Self>,
    ) -> Reply<Result<EntryPage, BridgeError>> {
        let ReadPage { bucket, after, until } = *read;
        self.with_store(async move |nats| {
            let first = until.is_none();
            let until = match until {
                None if nats.replicas > 1 => end(&nats, bucket).await?,
                until => until.unwrap_or(0),
            };
            let mut page = EntryPage { entries: Vec::new(), last: after, until, complete: false };
            if first && after > 0 {
                for _ in 0..MAX_SINGLE_READS {
                    let Some(message) = next(&nats, bucket, page.last).await? else {
                        return Ok(EntryPage { complete: true, ..page });
                    };
                    page.add(bucket, message);
                }
            }
            let stream = format!("KV_{}", bucket.name());
            let batch = batch::get(&nats.log.client, &stream, ALL, page.last + 1).await?;
            batch.messages.into_iter().for_each(|message| page.add(bucket, message));
            page.complete = batch.complete;
            // Any server answers that, and of several it may be one that lags.
            while page.complete && page.last < until {
                let Some(message) = next(&nats, bucket, page.last).await? else { break };
                page.add(bucket, message);
            }
            Ok(page)
        })
    }
}

impl EntryPage {
    fn add(&mut self, bucket: Bucket, message: StoredMessage) {
        let prefix = format!("$KV.{}.", bucket.name());
        let key = message.subject.strip_prefix(&prefix).unwrap_or(&message.subject);
        let raw = RawEntry { value: message.payload, revision: message.sequence };
        self.last = message.sequence;
        self.entries.push((key.to_owned(), (!message.is_delete_marker).then_some(raw)));
    }
}

/// Returns the latest revision that the server knows which leads.
async fn end(nats: &Connection, bucket: Bucket) -> Result<u64, BridgeError> {
    let info = with_timeout(nats.stores[&bucket].stream.get_info()).await?;
    Ok(info.map_err(|error| BridgeError::Disconnected(error_chain(&error)))?.state.last_sequence)
}

/// Returns what comes first after revision `after`. Where several servers hold the bucket, the one
/// that leads is asked: another may lag.
async fn next(
    nats: &Connection,
    bucket: Bucket,
    after: u64,
) -> Result<Option<StoredMessage>, BridgeError> {
    let (stream, sequence) = (&nats.stores[&bucket].stream, after + 1);
    let disconnected =
        |error: &dyn std::error::Error| Err(BridgeError::Disconnected(error_chain(error)));
    let message = if nats.replicas > 1 {
        let ask = stream.raw_message_builder().sequence(sequence).next_by_subject(ALL);
        match with_timeout(ask.send()).await? {
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(None),
            Err(error) => return disconnected(&error),
            Ok(message) => message,
        }
    } else {
        match with_timeout(stream.direct_get_next_for_subject(ALL, Some(sequence))).await? {
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(None),
            Err(error) => return disconnected(&error),
            Ok(message) => message,
        }
    };
    Ok(Some(StoredMessage {
        is_delete_marker: batch::is_delete_marker(&message.headers),
        sequence: message.sequence,
        subject: message.subject.into_string(),
        payload: message.payload,
    }))
}
