//! One bucket in memory, read on when somebody asks.

use std::time::{Duration, Instant};

use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use stream_bridge::{Bridge, BridgeError, Increment, IncrementalReader, RecordChange};
use stream_protocol::subjects::Bucket;
use tokio::sync::Mutex;

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

    /// Takes changes in.
    fn apply(&mut self, changes: Vec<Self::Change>);
}

/// A bucket in memory.
pub(super) struct View<I> {
    bucket: Bucket,
    /// Held by the one who reads on.
    reading: Mutex<Reading>,
    index: RwLock<I>,
}

struct Reading {
    reader: IncrementalReader,
    /// The last attempt that failed: when it began, and why.
    failed: Option<(Instant, String)>,
}

impl<I: Index> View<I> {
    pub(super) fn new(bucket: Bucket) -> Self {
        let reading = Reading { reader: IncrementalReader::new(bucket), failed: None };
        Self { bucket, reading: Mutex::new(reading), index: RwLock::default() }
    }

    /// Reads everything again the next time.
    pub(super) async fn forget(&self) {
        self.reading.lock().await.reader = IncrementalReader::new(self.bucket);
    }

    /// Brings the index up to date and returns what `read` finds in it.
    ///
    /// # Errors
    ///
    /// When NATS has been away for [`MAX_AGE`].
    pub(super) async fn read<T>(
        &self,
        bridge: &Bridge,
        read: impl FnOnce(&I) -> T,
    ) -> Result<T, BridgeError> {
        let caught_up = self.catch_up(bridge).await;
        if let Err(error) = caught_up
            && !self.is_recent().await
        {
            return Err(error);
        }
        Ok(read(&self.index.read()))
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
        Ok(read(&self.index.read()))
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
                self.take_in(increment);
                Ok(())
            }
            Err(error) => {
                reading.failed = Some((begun, error.to_string()));
                Err(error)
            }
        }
    }

    fn take_in(&self, Increment { is_whole, changes }: Increment<I::Change>) {
        if is_whole {
            // Nobody waits while it is put together.
            let mut index = I::default();
            index.apply(changes);
            *self.index.write() = index;
        } else if !changes.is_empty() {
            self.index.write().apply(changes);
        }
    }

    async fn is_recent(&self) -> bool {
        let last_read = self.reading.lock().await.reader.last_read();
        last_read.is_some_and(|at| at.elapsed() < MAX_AGE)
    }
}
