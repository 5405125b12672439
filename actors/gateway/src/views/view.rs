//! One bucket in memory, read on when somebody asks.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use stream_bridge::{Bridge, BridgeError, Increment, IncrementalReader, RecordChange};
use stream_protocol::subjects::Bucket;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::subscription::{Position, Subscribers, Subscription};
use super::watchers::Watchers;

/// How long a view is good for that NATS does not bring up to date.
pub(super) const MAX_AGE: Duration = Duration::from_secs(15);

/// What a view keeps of a bucket.
pub(super) trait Index: Default {
    /// What a record of the bucket is read as.
    type Record: DeserializeOwned;
    /// What is kept of a change.
    type Change;

    /// Returns what to keep of a change; `None` for a key that is of no use.
    fn keep(key: String, change: RecordChange<Self::Record>) -> Option<Self::Change>;

    /// Returns the key that a change is of.
    fn key(change: &Self::Change) -> &str;

    /// Takes changes in.
    fn apply(&mut self, changes: Vec<Self::Change>);
}

/// A bucket in memory.
pub(super) struct View<I> {
    bucket: Bucket,
    /// Held by the one who reads on.
    reading: Mutex<Reading>,
    held: RwLock<Held<I>>,
    watchers: Watchers,
    subscribers: Subscribers,
}

#[derive(Default)]
struct Held<I> {
    index: I,
    /// When the last read began that succeeded: what was stored until then is in the index.
    read_at: Option<Instant>,
    position: Position,
}

struct Reading {
    reader: IncrementalReader,
    /// The last attempt that failed: when it began, and why.
    failed: Option<(Instant, String)>,
}

impl<I: Index> View<I> {
    pub(super) fn new(bucket: Bucket) -> Self {
        let reading = Reading { reader: IncrementalReader::new(bucket), failed: None };
        let (reading, held) = (Mutex::new(reading), RwLock::default());
        let (watchers, subscribers) = (Watchers::default(), Subscribers::default());
        Self { bucket, reading, held, watchers, subscribers }
    }

    /// Reads everything again the next time.
    pub(super) async fn forget(&self) {
        self.reading.lock().await.reader = IncrementalReader::new(self.bucket);
    }

    /// Returns what `read` finds in the index, which is brought up to date before unless it holds
    /// what was stored `since` then.
    ///
    /// # Errors
    ///
    /// When NATS has been away for [`MAX_AGE`].
    pub(super) async fn read<T>(
        &self,
        bridge: &Bridge,
        since: Instant,
        read: impl FnOnce(&I) -> T,
    ) -> Result<T, BridgeError> {
        if !self.holds(since)
            && let Err(error) = self.catch_up(bridge).await
            && !self.is_recent()
        {
            return Err(error);
        }
        Ok(self.peek(read))
    }

    /// Brings the index up to date and returns what `read` finds in it.
    ///
    /// # Errors
    ///
    /// When NATS is away.
    pub(super) async fn read_now<T>(
        &self,
        bridge: &Bridge,
        read: impl FnOnce(&I) -> T,
    ) -> Result<T, BridgeError> {
        self.catch_up(bridge).await?;
        Ok(self.peek(read))
    }

    /// Returns what `read` finds in the index as it is.
    pub(super) fn peek<T>(&self, read: impl FnOnce(&I) -> T) -> T {
        read(&self.held.read().index)
    }

    /// Returns what is notified of each change of the record under `key` that is taken in.
    pub(super) fn watch(&self, key: &str) -> Arc<Notify> {
        self.watchers.watch(key)
    }

    /// Gives back what was [watched](View::watch).
    pub(super) fn unwatch(&self, key: &str) {
        self.watchers.unwatch(key);
    }

    /// Returns what gathers the keys of all changes that are taken in from now on.
    pub(super) fn subscribe(&self) -> Subscription {
        self.subscribers.subscribe(self.held.read().position)
    }

    /// Takes in what has changed in the store until this call. Those who call at the same time
    /// share an attempt.
    pub(super) async fn catch_up(&self, bridge: &Bridge) -> Result<(), BridgeError> {
        let asked = Instant::now();
        let mut reading = self.reading.lock().await;
        // Whoever held it before may have begun after this was asked for.
        if reading.reader.last_read().is_some_and(|begun| begun >= asked) {
            return Ok(());
        }
        if let Some((begun, why)) = &reading.failed
            && *begun >= asked
        {
            return Err(BridgeError::Disconnected(why.clone()));
        }
        let begun = Instant::now();
        match reading.reader.read(bridge, I::keep).await {
            Ok(increment) => {
                reading.failed = None;
                let reader = &reading.reader;
                let position =
                    Position { created_at: reader.created_at(), revision: reader.revision() };
                self.take_in(increment, reader.last_read(), position);
                Ok(())
            }
            Err(error) => {
                reading.failed = Some((begun, error.to_string()));
                Err(error)
            }
        }
    }

    fn take_in(
        &self,
        increment: Increment<I::Change>,
        read_at: Option<Instant>,
        position: Position,
    ) {
        let Increment { is_whole, changes } = increment;
        let changed: Option<Vec<_>> = match is_whole {
            true => None,
            false => Some(changes.iter().map(|change| I::key(change).to_owned()).collect()),
        };
        if is_whole {
            // Nobody waits while it is put together.
            let mut index = I::default();
            index.apply(changes);
            *self.held.write() = Held { index, read_at, position };
        } else {
            let mut held = self.held.write();
            held.read_at = read_at;
            held.position = position;
            held.index.apply(changes);
        }
        self.subscribers.tell(changed.as_deref(), position);
        self.watchers.notify(changed);
    }

    fn holds(&self, since: Instant) -> bool {
        self.held.read().read_at.is_some_and(|at| at >= since)
    }

    fn is_recent(&self) -> bool {
        self.held.read().read_at.is_some_and(|at| at.elapsed() < MAX_AGE)
    }
}
