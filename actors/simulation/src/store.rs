//! What a NATS server keeps: buckets with revisions, records that go away, and the signal log.
//! Pure: time comes in.
//!
//! It behaves as JetStream does with the settings of the bridge: revisions count the writes of a
//! bucket, a record that is removed or goes away by itself leaves a marker with a revision of its
//! own, which goes away a minute later, and a write may name the last revision of its key, markers
//! included.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use stream_bridge::simulation::{Expected, LogReach, Published, Written};
use stream_bridge::{BridgeError, Entry, MARKER_TTL};
use stream_protocol::subjects::Bucket;

/// How long the log knows the id of a signal.
const REPEAT_WINDOW: Duration = Duration::from_secs(360);

/// One record, or the marker of one that is gone.
#[derive(Clone, Debug)]
struct Record {
    revision: u64,
    value: Option<Bytes>,
    goes_at: Option<Duration>,
}

#[derive(Debug)]
struct Records {
    created: SystemTime,
    last: u64,
    by_key: BTreeMap<String, Record>,
    /// Nothing goes away before.
    quiet_until: Option<Duration>,
}

/// What is in the log under one number.
#[derive(Debug)]
struct Signal {
    subject: String,
    id: String,
    at: Duration,
    payload: Bytes,
}

/// What was stored, for those who follow it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) bucket: Bucket,
    pub(crate) key: String,
    pub(crate) before: Option<Bytes>,
    pub(crate) after: Option<Bytes>,
    pub(crate) revision: u64,
}

#[derive(Debug)]
pub(crate) struct Store {
    buckets: BTreeMap<&'static str, Records>,
    /// When the store was made.
    created: SystemTime,
    signals: Vec<Signal>,
}

impl Store {
    pub(crate) fn new(created: SystemTime) -> Self {
        let buckets = Bucket::ALL.iter().map(|bucket| (bucket.name(), Records::new(created)));
        Self { buckets: buckets.collect(), created, signals: Vec::new() }
    }

    pub(crate) fn created(&self) -> SystemTime {
        self.created
    }

    /// Returns when a bucket was made, and its last revision.
    pub(crate) fn look(&self, bucket: Bucket) -> (SystemTime, u64) {
        let records = &self.buckets[bucket.name()];
        (records.created, records.last)
    }

    /// Loses what is kept in memory, as a server does that is started again.
    pub(crate) fn restart(&mut self, now: SystemTime) {
        for bucket in [Bucket::Agents, Bucket::Clients] {
            self.buckets.insert(bucket.name(), Records::new(now));
        }
    }

    /// Has those records go whose time has come by `now`; returns what has changed by that.
    pub(crate) fn advance(&mut self, now: Duration) -> Vec<Change> {
        let mut changes = Vec::new();
        for bucket in Bucket::ALL {
            let records = self.records(bucket);
            if records.quiet_until.is_none_or(|until| now < until) {
                continue;
            }
            while let Some((key, at)) = records.next_to_go().filter(|(_, at)| *at <= now) {
                let Some(record) = records.by_key.remove(&key) else { break };
                // A marker goes for good.
                if let Some(before) = record.value {
                    let revision = records.mark(&key, at);
                    let (before, after) = (Some(before), None);
                    changes.push(Change { bucket, key, before, after, revision });
                }
            }
            records.quiet_until = records.next_to_go().map(|(_, at)| at);
        }
        changes
    }

    pub(crate) fn read(&self, bucket: Bucket, key: &str) -> Option<Entry<Bytes>> {
        let record = self.buckets[bucket.name()].by_key.get(key)?;
        Some(Entry { value: record.value.clone()?, revision: record.revision })
    }

    /// Returns all that has changed after `after`, and the last revision.
    pub(crate) fn written(&self, bucket: Bucket, after: u64) -> Written {
        let records = &self.buckets[bucket.name()];
        let newer = records.by_key.iter().filter(|(_, record)| record.revision > after);
        let mut entries: Vec<_> = newer
            .map(|(key, record)| (key.clone(), record.revision, record.value.clone()))
            .collect();
        entries.sort_by_key(|(_, revision, _)| *revision);
        Written { entries, last: records.last }
    }

    /// Returns the values of a bucket by their keys.
    pub(crate) fn values(&self, bucket: Bucket) -> impl Iterator<Item = (&String, &Bytes)> {
        let records = self.buckets[bucket.name()].by_key.iter();
        records.filter_map(|(key, record)| Some((key, record.value.as_ref()?)))
    }

    /// Stores a record and returns what has changed.
    pub(crate) fn write(
        &mut self,
        bucket: Bucket,
        key: &str,
        value: Bytes,
        expected: Expected,
        goes_at: Option<Duration>,
    ) -> Result<Change, BridgeError> {
        let records = self.records(bucket);
        let present = records.by_key.get(key);
        let fits = match expected {
            Expected::Anything => true,
            Expected::Nothing => present.is_none_or(|record| record.value.is_none()),
            Expected::Revision(revision) => present.map_or(0, |record| record.revision) == revision,
        };
        if !fits {
            return Err(BridgeError::Conflict);
        }
        let before = present.and_then(|record| record.value.clone());
        records.last += 1;
        let (revision, after) = (records.last, Some(value));
        let record = Record { revision, value: after.clone(), goes_at };
        records.insert(key, record);
        Ok(Change { bucket, key: key.to_owned(), before, after, revision })
    }

    /// Removes a record, which leaves a marker also where there is none.
    pub(crate) fn remove(
        &mut self,
        bucket: Bucket,
        key: &str,
        revision: Option<u64>,
        now: Duration,
    ) -> Result<Change, BridgeError> {
        let records = self.records(bucket);
        let present = records.by_key.get(key);
        let last = present.map_or(0, |record| record.revision);
        if revision.is_some_and(|revision| revision != last) {
            return Err(BridgeError::Conflict);
        }
        let before = present.and_then(|record| record.value.clone());
        let revision = records.mark(key, now);
        Ok(Change { bucket, key: key.to_owned(), before, after: None, revision })
    }

    /// Stores a signal, unless its id is known; returns its number, and what to publish of it.
    pub(crate) fn append(
        &mut self,
        subject: &str,
        id: &str,
        payload: &Bytes,
        expected: Option<u64>,
        now: Duration,
    ) -> Result<(u64, Option<Published>), BridgeError> {
        let previous = self.last_of(subject);
        // The server looks at this first, so that a repeated write is no repetition but a conflict.
        if expected.is_some_and(|expected| expected != previous) {
            return Err(BridgeError::Conflict);
        }
        let is_known = |one: &Signal| one.id == id && now - one.at < REPEAT_WINDOW;
        if let Some(at) = self.signals.iter().rposition(is_known) {
            return Ok((at as u64 + 1, None));
        }
        let (subject, id) = (subject.to_owned(), id.to_owned());
        let payload = payload.clone();
        let published = (subject.clone(), payload.clone());
        self.signals.push(Signal { subject, id, at: now, payload });
        let (sequence, (subject, payload)) = (self.signals.len() as u64, published);
        Ok((sequence, Some(Published { subject, sequence, previous, payload })))
    }

    /// Returns the signals of one subject from a number on, and how far the log reaches.
    pub(crate) fn signals(&self, subject: &str, from: u64) -> (Vec<(u64, Bytes)>, LogReach) {
        let numbered = self.signals.iter().enumerate().map(|(at, signal)| (at as u64 + 1, signal));
        let found =
            numbered.filter(|(number, signal)| *number >= from && signal.subject == subject);
        let found = found.map(|(number, signal)| (number, signal.payload.clone())).collect();
        (found, LogReach { epoch: 1, first: 1, last: self.signals.len() as u64 })
    }

    fn last_of(&self, subject: &str) -> u64 {
        let last = self.signals.iter().rposition(|signal| signal.subject == subject);
        last.map_or(0, |at| at as u64 + 1)
    }

    fn records(&mut self, bucket: Bucket) -> &mut Records {
        self.buckets.get_mut(bucket.name()).expect("every bucket is there")
    }
}

impl Records {
    fn new(created: SystemTime) -> Self {
        Self { created, last: 0, by_key: BTreeMap::new(), quiet_until: None }
    }

    fn insert(&mut self, key: &str, record: Record) {
        self.quiet_until = self.quiet_until.into_iter().chain(record.goes_at).min();
        self.by_key.insert(key.to_owned(), record);
    }

    /// Leaves a marker under `key`, and returns its revision.
    fn mark(&mut self, key: &str, now: Duration) -> u64 {
        self.last += 1;
        let goes_at = Some(now + MARKER_TTL);
        let marker = Record { revision: self.last, value: None, goes_at };
        self.insert(key, marker);
        self.last
    }

    fn next_to_go(&self) -> Option<(String, Duration)> {
        let going = self.by_key.iter().filter_map(|(key, record)| Some((record.goes_at?, key)));
        going.min().map(|(at, key)| (key.clone(), at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "k";
    const BUCKET: Bucket = Bucket::Sessions;

    fn store() -> Store {
        Store::new(SystemTime::UNIX_EPOCH)
    }

    fn put(store: &mut Store, expected: Expected, ttl: Option<u64>) -> Result<u64, BridgeError> {
        let value = Bytes::from_static(b"{}");
        let goes_at = ttl.map(Duration::from_secs);
        store.write(BUCKET, KEY, value, expected, goes_at).map(|change| change.revision)
    }

    fn is_conflict<T>(result: Result<T, BridgeError>) -> bool {
        matches!(result, Err(BridgeError::Conflict))
    }

    #[test]
    fn of_several_writers_one_is_right() {
        let mut store = store();
        assert_eq!(put(&mut store, Expected::Nothing, None).ok(), Some(1));
        assert!(is_conflict(put(&mut store, Expected::Nothing, None)));
        assert_eq!(put(&mut store, Expected::Revision(1), None).ok(), Some(2));
        assert!(is_conflict(put(&mut store, Expected::Revision(1), None)));
        assert!(is_conflict(store.remove(BUCKET, KEY, Some(1), Duration::ZERO)));
        assert_eq!(put(&mut store, Expected::Anything, None).ok(), Some(3));
    }

    #[test]
    fn a_record_that_goes_leaves_a_marker_for_a_minute() {
        let mut store = store();
        assert_eq!(put(&mut store, Expected::Nothing, Some(10)).ok(), Some(1));
        assert!(store.advance(Duration::from_secs(9)).is_empty());
        let gone = store.advance(Duration::from_secs(10));
        assert_eq!((gone.len(), gone[0].revision), (1, 2));
        assert_eq!(store.read(BUCKET, KEY).map(|entry| entry.revision), None);
        let told = store.written(BUCKET, 1);
        assert_eq!((told.entries, told.last), (vec![(KEY.to_owned(), 2, None)], 2));
        assert!(is_conflict(put(&mut store, Expected::Revision(1), None)), "it is gone");
        assert!(store.advance(Duration::from_secs(70)).is_empty());
        assert!(store.written(BUCKET, 0).entries.is_empty(), "the marker goes as well");
        assert!(is_conflict(put(&mut store, Expected::Revision(2), None)));
        assert_eq!(put(&mut store, Expected::Nothing, None).ok(), Some(3), "revisions go on");
    }

    #[test]
    fn what_was_removed_can_be_made_again_over_its_marker() {
        let mut store = store();
        put(&mut store, Expected::Nothing, None).expect("it is new");
        store.remove(BUCKET, KEY, None, Duration::ZERO).expect("it is there");
        assert_eq!(put(&mut store, Expected::Nothing, None).ok(), Some(3));
        assert_eq!(store.written(BUCKET, 0).entries.len(), 1, "one message a key is kept");
    }

    #[test]
    fn a_server_that_starts_again_has_lost_its_memory_and_nothing_else() {
        let mut store = store();
        put(&mut store, Expected::Nothing, None).expect("it is new");
        let value = Bytes::from_static(b"{}");
        store.write(Bucket::Agents, KEY, value, Expected::Anything, None).expect("it is new");
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        store.restart(later);
        assert!(store.read(BUCKET, KEY).is_some() && store.read(Bucket::Agents, KEY).is_none());
        assert_eq!(store.look(Bucket::Agents), (later, 0), "another bucket");
    }

    #[test]
    fn a_signal_is_stored_once_within_the_window_and_is_told_what_came_before_it() {
        let (mut store, payload) = (store(), Bytes::from_static(b"{}"));
        let mut append = |subject: &str, id: &str, expected, second| {
            let now = Duration::from_secs(second);
            let (sequence, published) = store.append(subject, id, &payload, expected, now)?;
            Ok::<_, BridgeError>((sequence, published.map(|published| published.previous)))
        };
        assert_eq!(append("a", "1", None, 0).ok(), Some((1, Some(0))));
        assert_eq!(append("b", "2", Some(0), 0).ok(), Some((2, Some(0))));
        assert_eq!(append("a", "3", Some(1), 0).ok(), Some((3, Some(1))));
        assert_eq!(append("a", "3", None, 100).ok(), Some((3, None)), "a repetition");
        assert!(is_conflict(append("a", "3", Some(1), 100)), "looked at first");
        assert_eq!(append("a", "3", None, 400).ok(), Some((4, Some(3))), "the window is over");
    }
}
