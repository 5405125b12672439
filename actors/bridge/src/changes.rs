//! Reading a bucket: all of it, or what was written and removed since.

use std::collections::BTreeMap;

use actix::Message;
use async_nats::jetstream::stream::{DirectGetErrorKind, RawMessageErrorKind};
use serde::de::DeserializeOwned;
use stream_protocol::subjects::Bucket;
use stream_supervisor::{Context, Handler, Reply};

use crate::actor::Actor;
use crate::batch::{self, Batch, StoredMessage};
use crate::buckets::{Store, record_subject};
use crate::connection::with_timeout;
use crate::records::RawEntry;
use crate::{Bridge, BridgeError, Entry};

/// Whoever reads on asks for so many messages one by one before asking for many at once. There is
/// rarely more, and for each answer of many the server walks all keys of the bucket to count what
/// is left: with those of a day's sessions that takes longer than so many answers of one.
const MAX_SINGLE_READS: usize = 32;

/// Everything in a stream.
const ALL: &str = ">";

/// What became of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordChange<T> {
    Stored(Entry<T>),
    Removed,
    /// There is a record, and this version cannot read it: a newer one wrote it, or it is damaged.
    /// It is not to be taken for removed. Logged.
    Unreadable,
}

impl Bridge {
    /// Returns all values of a bucket by their keys. Values that cannot be read are left out and
    /// logged: one broken record must not hide the others.
    pub async fn list<T: DeserializeOwned>(
        &self,
        bucket: Bucket,
    ) -> Result<Vec<(String, Entry<T>)>, BridgeError> {
        // What is written meanwhile may come up twice.
        let mut found = BTreeMap::new();
        let on_change = |key, change| match change {
            RecordChange::Stored(entry) => drop(found.insert(key, entry)),
            RecordChange::Removed | RecordChange::Unreadable => drop(found.remove(&key)),
        };
        self.changes(bucket, 0, on_change).await?;
        Ok(found.into_iter().collect())
    }

    /// Hands to `on_change` what changed in a bucket after revision `after`; after 0 all there is.
    /// Returns the revision after which to go on.
    ///
    /// A key comes up with its latest value, and once more when it changes meanwhile. Removals are
    /// told for [`MARKER_TTL`](crate::MARKER_TTL). Revisions count anew in a bucket that was made
    /// anew: see [`Bridge::continuity`].
    pub async fn changes<T: DeserializeOwned>(
        &self,
        bucket: Bucket,
        after: u64,
        mut on_change: impl FnMut(String, RecordChange<T>),
    ) -> Result<u64, BridgeError> {
        self.raw_changes(bucket, after, |key, raw| {
            let change = match raw.map(|raw| raw.decode()) {
                None => RecordChange::Removed,
                Some(Ok(entry)) => RecordChange::Stored(entry),
                Some(Err(cause)) => {
                    let (bucket, key) = (bucket.name(), &key);
                    log::error!(bucket, key:%, cause:%; "a record cannot be read");
                    RecordChange::Unreadable
                }
            };
            on_change(key, change);
        })
        .await
    }

    /// Hands to `on_entry` the keys written or removed after revision `after`, in the order of the
    /// revisions they have now; after 0 all keys of the bucket. Removals have no revision and are
    /// told for [`MARKER_TTL`](crate::MARKER_TTL). Values are not looked at.
    ///
    /// # Cancel safety
    ///
    /// After an error, or when the future was dropped, the last revision that was handed over is
    /// where to go on.
    pub async fn keys(
        &self,
        bucket: Bucket,
        after: u64,
        mut on_entry: impl FnMut(&str, Option<u64>),
    ) -> Result<(), BridgeError> {
        let on_entry = |key: String, raw: Option<RawEntry>| {
            on_entry(&key, raw.map(|raw| raw.revision));
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

/// Reads some of the records of a bucket that were written after a revision, 0 being before all.
/// A large bucket takes several questions, so that nobody holds all of it as it lies in the store,
/// and nothing is read for somebody who has gone.
#[derive(Clone, Copy, Message)]
#[rtype(result = "Result<EntryPage, BridgeError>")]
pub(crate) struct ReadPage {
    pub(crate) bucket: Bucket,
    pub(crate) after: u64,
    /// What the answer before said.
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
        let read = *read;
        self.with_store("list", async move |store: &Store| {
            read_page(&StoredBucket { store, bucket: read.bucket }, read).await
        })
    }
}

/// A bucket as it is read. What any server of a cluster answers may lag behind the one that leads.
pub(crate) trait BucketSource {
    /// Whether several servers hold the bucket.
    fn is_replicated(&self) -> bool;

    /// Returns the latest revision that the server knows which leads.
    async fn end(&self) -> Result<u64, BridgeError>;

    /// Returns what comes first after revision `after`, as the server says that leads.
    async fn next(&self, after: u64) -> Result<Option<StoredMessage>, BridgeError>;

    /// Returns what comes after revision `after`. Any server answers.
    async fn batch(&self, after: u64) -> Result<Batch, BridgeError>;
}

pub(crate) async fn read_page(
    source: &impl BucketSource,
    ReadPage { bucket, after, until }: ReadPage,
) -> Result<EntryPage, BridgeError> {
    let first = until.is_none();
    let until = match until {
        None if source.is_replicated() => source.end().await?,
        until => until.unwrap_or(0),
    };
    let mut page = EntryPage { entries: Vec::new(), last: after, until, complete: false };
    if first && after > 0 {
        for _ in 0..MAX_SINGLE_READS {
            let Some(message) = source.next(page.last).await? else {
                return Ok(EntryPage { complete: true, ..page });
            };
            page.add(bucket, message);
        }
    }
    let batch = source.batch(page.last).await?;
    batch.messages.into_iter().for_each(|message| page.add(bucket, message));
    page.complete = batch.complete;
    // Any server answers that, and of several it may be one that lags.
    while page.complete && page.last < until {
        let Some(message) = source.next(page.last).await? else { break };
        page.add(bucket, message);
    }
    Ok(page)
}

impl EntryPage {
    fn add(&mut self, bucket: Bucket, message: StoredMessage) {
        let prefix = record_subject(bucket, "");
        let key = message.subject.strip_prefix(&prefix).unwrap_or(&message.subject);
        let raw = RawEntry { value: message.payload, revision: message.sequence };
        self.last = message.sequence;
        self.entries.push((key.to_owned(), (!message.is_delete_marker).then_some(raw)));
    }
}

/// A bucket of NATS.
struct StoredBucket<'a> {
    store: &'a Store,
    bucket: Bucket,
}

impl BucketSource for StoredBucket<'_> {
    fn is_replicated(&self) -> bool {
        self.store.is_replicated()
    }

    async fn end(&self) -> Result<u64, BridgeError> {
        Ok(self.store.info(self.bucket).await?.state.last_sequence)
    }

    async fn next(&self, after: u64) -> Result<Option<StoredMessage>, BridgeError> {
        let (stream, sequence) = (&self.store.bucket(self.bucket)?.stream, after + 1);
        let message = if self.is_replicated() {
            let ask = stream.raw_message_builder().sequence(sequence).next_by_subject(ALL);
            match with_timeout(ask.send()).await? {
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {
                    return Ok(None);
                }
                Err(error) => return Err(BridgeError::disconnected(error)),
                Ok(message) => message,
            }
        } else {
            match with_timeout(stream.direct_get_next_for_subject(ALL, Some(sequence))).await? {
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(BridgeError::disconnected(error)),
                Ok(message) => message,
            }
        };
        Ok(Some(StoredMessage {
            is_delete_marker: batch::is_delete_marker(&message.headers),
            stored_at: Some(message.time),
            sequence: message.sequence,
            subject: message.subject.into_string(),
            payload: message.payload,
        }))
    }

    async fn batch(&self, after: u64) -> Result<Batch, BridgeError> {
        self.store.bucket(self.bucket)?;
        let stream = format!("KV_{}", self.bucket.name());
        batch::get(&self.store.connection().client, &stream, ALL, after + 1).await
    }
}
