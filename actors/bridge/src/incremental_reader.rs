//! Reading a bucket on from where it was read last, for whoever keeps what is in it.

use std::time::Duration;

use serde::de::DeserializeOwned;
use stream_protocol::subjects::Bucket;
use tokio::time::Instant;

use crate::buckets::MARKER_TTL;
use crate::changes::RecordChange;
use crate::continuity::{BucketState, Continuity, GetBucketState};
use crate::{Bridge, BridgeError};

/// How long changes are added to what was read before everything is read again.
const FULL_RELOAD: Duration = Duration::from_secs(3600);

/// The longest time between two reads after which removals are still told as changes.
const MAX_GAP: Duration = MARKER_TTL.checked_div(2).unwrap();

/// How far a bucket was read. The next read costs one question while nothing has changed.
#[derive(Debug)]
pub struct IncrementalReader {
    bucket: Bucket,
    /// The revision up to which the bucket was read.
    revision: u64,
    /// How it was at the last read.
    last_read: Option<LastRead>,
}

#[derive(Clone, Copy, Debug)]
struct LastRead {
    continuity: Continuity,
    at: Instant,
    /// When everything was read.
    whole: Instant,
}

/// What a read has found.
#[derive(Debug)]
pub struct Increment<C> {
    /// Whether the changes are all that is in the bucket, in place of what was read before.
    pub is_whole: bool,
    /// In the order of their revisions; the latest of a key counts.
    pub changes: Vec<C>,
}

impl IncrementalReader {
    /// How often to read on at least. After a longer pause everything is read again, since the
    /// store tells no more what was removed.
    pub const INTERVAL: Duration = MARKER_TTL.checked_div(4).unwrap();

    pub fn new(bucket: Bucket) -> Self {
        Self { bucket, revision: 0, last_read: None }
    }

    /// Reads what has changed since the last read that succeeded: everything the first time, and
    /// when changes may have been missed. `keep` makes of a change what is worth keeping.
    ///
    /// # Errors
    ///
    /// [`BridgeError::Disconnected`] also while a store that was lost is not checked again. The
    /// next read begins where this one did.
    ///
    /// # Cancel safety
    ///
    /// A read that is dropped has not taken place.
    pub async fn read<T: DeserializeOwned, C>(
        &mut self,
        bridge: &Bridge,
        mut keep: impl FnMut(String, RecordChange<T>) -> Option<C>,
    ) -> Result<Increment<C>, BridgeError> {
        let now = Instant::now();
        let state = bridge.bucket_state(self.bucket).await?;
        let from = self.resume_from(&state, now);
        let mut changes = Vec::new();
        let mut revision = state.last_revision;
        if from != Some(revision) {
            let on_change = |key, change| changes.extend(keep(key, change));
            let read = bridge.changes(self.bucket, from.unwrap_or(0), on_change).await?;
            // What was removed last leaves nothing to read.
            revision = revision.max(read);
        }
        self.advance(from, revision, state.continuity, now);
        Ok(Increment { is_whole: from.is_none(), changes })
    }

    /// When the bucket was made, in Unix seconds; 0 before the first read.
    pub fn created_at(&self) -> u64 {
        self.last_read.map_or(0, |last_read| last_read.continuity.created_at)
    }

    /// The revision up to which the bucket was read; 0 before the first read.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// When the last read began that succeeded. What was stored until then was found.
    pub fn last_read(&self) -> Option<Instant> {
        self.last_read.map(|last_read| last_read.at)
    }

    /// The revision after which to read on; `None` when everything is to be read. What was lost and
    /// is there again, from a copy perhaps, counts its revisions anew.
    fn resume_from(&self, state: &BucketState, now: Instant) -> Option<u64> {
        let last_read = self.last_read?;
        let goes_on = last_read.continuity == state.continuity
            && self.revision <= state.last_revision
            && now.duration_since(last_read.at) < MAX_GAP
            && now.duration_since(last_read.whole) < FULL_RELOAD;
        goes_on.then_some(self.revision)
    }

    fn advance(&mut self, from: Option<u64>, revision: u64, continuity: Continuity, now: Instant) {
        let whole = match self.last_read {
            Some(last_read) if from.is_some() => last_read.whole,
            _ => now,
        };
        self.revision = revision;
        self.last_read = Some(LastRead { continuity, at: now, whole });
    }
}

impl Bridge {
    async fn bucket_state(&self, bucket: Bucket) -> Result<BucketState, BridgeError> {
        self.0.ask(GetBucketState(bucket)).await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(created_at: u64, connected_since: Instant, last_revision: u64) -> BucketState {
        let continuity = Continuity { created_at, connected_since };
        BucketState { continuity, last_revision }
    }

    fn read_to(revision: u64, state: &BucketState, now: Instant) -> IncrementalReader {
        let mut reader = IncrementalReader::new(Bucket::Sessions);
        assert_eq!(reader.resume_from(state, now), None, "nothing was read yet");
        reader.advance(None, revision, state.continuity, now);
        reader
    }

    #[test]
    fn everything_is_read_anew_only_when_changes_may_have_been_missed() {
        let start = Instant::now();
        let there = state(7, start, 5);
        let reader = read_to(5, &there, start);
        assert_eq!(reader.resume_from(&there, start + MAX_GAP / 2), Some(5));
        let cases = [
            (there, start + MAX_GAP, "removals are told no more"),
            (state(8, start, 5), start, "another store"),
            (state(7, start, 4), start, "an older copy of the store"),
            (state(7, start + MAX_GAP, 5), start, "NATS was away"),
        ];
        for (state, now, why) in cases {
            assert_eq!(reader.resume_from(&state, now), None, "{why}");
        }
    }

    #[test]
    fn whoever_reads_on_at_the_interval_reads_everything_once_an_hour() {
        let start = Instant::now();
        let there = state(7, start, 5);
        let (mut reader, mut now) = (read_to(5, &there, start), start);
        while now - start + IncrementalReader::INTERVAL < FULL_RELOAD {
            now += IncrementalReader::INTERVAL;
            assert_eq!(reader.resume_from(&there, now), Some(5));
            reader.advance(Some(5), 5, there.continuity, now);
        }
        assert_eq!(reader.resume_from(&there, now + IncrementalReader::INTERVAL), None);
    }
}
