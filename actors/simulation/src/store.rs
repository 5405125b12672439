//! What a NATS server keeps: buckets with revisions, records that go away, and the signal log.
//! Pure: time comes in.
//!
//! It behaves as JetStream does with the settings of the bridge: revisions count the writes of a
//! bucket, a record that is removed or goes away by itself leaves a marker with a revision of its
//! own, which goes away a minute later, and a write may name the last revision of its key, markers
//! included. The log drops its oldest signals for their age, or for want of room.
//!
//! Of a cluster, any server answers some of the questions: it may be one that has not heard of the
//! last moments, and tells what was so before.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use stream_bridge::simulation::{Expected, LogReach, Published, Stored};
use stream_bridge::{BridgeError, Entry, MARKER_TTL, MAX_SIGNAL_AGE};
use stream_protocol::subjects::{self, Bucket};
use stream_protocol::{Direction, SessionId, StoredSignal, Versioned};

/// How long the log knows the id of a signal.
const REPEAT_WINDOW: Duration = Duration::from_secs(360);

/// How long a signal stays at least, however little room there is: longer than a reader may stand
/// still between two looks at the log. The 600 s of a real one are so in the same way.
const MIN_SIGNAL_AGE: Duration = Duration::from_secs(60);

/// How late the copy of a signal is made.
const COPY_LAG: Duration = Duration::from_millis(500);

/// How far a server lags behind the one that leads at most.
pub(crate) const MAX_LAG: Duration = Duration::from_secs(3);

/// The most messages of one answer.
const BATCH: usize = 256;

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
    /// What was there before each of the last changes, and when that was made.
    before: VecDeque<(Duration, String, Option<Record>)>,
}

/// What is in the log under one number.
#[derive(Debug)]
struct Signal {
    subject: String,
    id: String,
    at: Duration,
    payload: Bytes,
    dropped_at: Option<Duration>,
}

impl Signal {
    fn is_kept_at(&self, when: Duration) -> bool {
        self.at <= when && self.dropped_at.is_none_or(|at| at > when)
    }
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
    /// All that there were, also those that are dropped.
    signals: Vec<Signal>,
    /// How many were dropped.
    dropped: usize,
    /// How many there is room for.
    room: usize,
    now: Duration,
}

impl Store {
    pub(crate) fn new(created: SystemTime) -> Self {
        let buckets = Bucket::ALL.iter().map(|bucket| (bucket.name(), Records::new(created)));
        Self {
            buckets: buckets.collect(),
            created,
            signals: Vec::new(),
            dropped: 0,
            room: usize::MAX,
            now: Duration::ZERO,
        }
    }

    /// Leaves room for so many signals from now on.
    pub(crate) fn limit_log(&mut self, room: usize) {
        self.room = room;
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
        self.now = now;
        self.trim();
        let mut changes = Vec::new();
        for bucket in Bucket::ALL {
            let records = self.records(bucket);
            if records.quiet_until.is_none_or(|until| now < until) {
                continue;
            }
            while let Some((key, at)) = records.next_to_go().filter(|(_, at)| *at <= now) {
                let Some(record) = records.by_key.remove(&key) else { break };
                records.remember(now, &key, Some(record.clone()));
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

    /// Returns what has changed after `after` as it was `lag` ago, and whether that is all.
    pub(crate) fn written(&self, bucket: Bucket, after: u64, lag: Duration) -> (Vec<Stored>, bool) {
        let records = &self.buckets[bucket.name()];
        let then = (lag > Duration::ZERO).then(|| records.at(self.now.saturating_sub(lag)));
        let by_key = then.as_ref().unwrap_or(&records.by_key);
        let newer = by_key.iter().filter(|(_, record)| record.revision > after);
        let mut entries: Vec<_> = newer
            .map(|(key, record)| (key.clone(), record.revision, record.value.clone()))
            .collect();
        entries.sort_by_key(|(_, revision, _)| *revision);
        let complete = entries.len() <= BATCH;
        entries.truncate(BATCH);
        (entries, complete)
    }

    /// Returns what has changed first after `after`.
    pub(crate) fn next_written(&self, bucket: Bucket, after: u64) -> Option<Stored> {
        let records = self.buckets[bucket.name()].by_key.iter();
        let next = records.filter(|(_, record)| record.revision > after);
        let (key, record) = next.min_by_key(|(_, record)| record.revision)?;
        Some((key.clone(), record.revision, record.value.clone()))
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
        let now = self.now;
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
        records.insert(now, key, record);
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
        self.signals.push(Signal { subject, id, at: now, payload, dropped_at: None });
        self.trim();
        let (sequence, (subject, payload)) = (self.signals.len() as u64, published);
        Ok((sequence, Some(Published { subject, sequence, previous, payload })))
    }

    /// Has those signals go that are too old, or for which there is no room.
    fn trim(&mut self) {
        let Self { signals, dropped, room, now, .. } = self;
        while let Some(oldest) = signals.get(*dropped) {
            let age = now.saturating_sub(oldest.at);
            let is_crowded = signals.len() - *dropped > *room && age >= MIN_SIGNAL_AGE;
            if !is_crowded && age < MAX_SIGNAL_AGE {
                return;
            }
            signals[*dropped].dropped_at = Some(*now);
            *dropped += 1;
        }
    }

    /// Returns the signals of one subject from a number on as they were `lag` ago, and whether
    /// those are all.
    pub(crate) fn signals(
        &self,
        subject: &str,
        from: u64,
        lag: Duration,
    ) -> (Vec<(u64, Bytes)>, bool) {
        let then = self.now.saturating_sub(lag);
        let found = numbered(&self.signals).filter(|(number, signal)| {
            *number >= from && signal.subject == subject && signal.is_kept_at(then)
        });
        let found = found.map(|(number, signal)| (number, signal.payload.clone()));
        let mut found: Vec<_> = found.take(BATCH + 1).collect();
        let complete = found.len() <= BATCH;
        found.truncate(BATCH);
        (found, complete)
    }

    /// Returns how far the log reaches.
    pub(crate) fn reach(&self) -> LogReach {
        LogReach { epoch: 1, first: self.dropped as u64 + 1, last: self.signals.len() as u64 }
    }

    /// Returns the number of the last signal of a subject that is kept, 0 for none.
    pub(crate) fn last_of(&self, subject: &str) -> u64 {
        let kept = |signal: &Signal| signal.subject == subject && signal.dropped_at.is_none();
        self.signals.iter().rposition(kept).map_or(0, |at| at as u64 + 1)
    }

    /// Returns the number of the last signal of a subject that was copied.
    pub(crate) fn last_copied(&self, subject: &str) -> Option<u64> {
        let of_subject = |signal: &Signal| signal.subject == subject && self.is_copied(signal);
        self.signals.iter().rposition(of_subject).map(|at| at as u64 + 1)
    }

    /// Returns the oldest and the newest copy. They are numbered as the log is.
    pub(crate) fn copies(&self) -> (u64, u64) {
        let copied = numbered(&self.signals).filter(|(_, signal)| self.is_copied(signal));
        let last: BTreeMap<_, _> =
            copied.map(|(number, signal)| (signal.subject.as_str(), number)).collect();
        let (first, last) = (last.values().min(), last.values().max());
        (first.map_or(1, |first| *first), last.map_or(0, |last| *last))
    }

    /// Returns the number of a signal whose copy is kept.
    pub(crate) fn copied(&self, number: u64) -> Option<u64> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        let subject = &self.signals.get(at)?.subject;
        (self.last_copied(subject) == Some(number)).then_some(number)
    }

    /// Whether the log keeps what the instance of a session has signalled.
    pub(crate) fn keeps(&self, session: &str, signal: &str) -> bool {
        let Ok(session) = session.parse::<SessionId>() else { return false };
        let subject = subjects::signal(&session, Direction::ToClient);
        let is_it = |one: &Signal| {
            let stored = Versioned::<StoredSignal>::decode(&one.payload);
            one.subject == subject && stored.is_ok_and(|one| one.signal.as_str() == signal)
        };
        self.signals[self.dropped..].iter().any(is_it)
    }

    fn is_copied(&self, signal: &Signal) -> bool {
        signal.at + COPY_LAG <= self.now
    }

    fn records(&mut self, bucket: Bucket) -> &mut Records {
        self.buckets.get_mut(bucket.name()).expect("every bucket is there")
    }
}

impl Records {
    fn new(created: SystemTime) -> Self {
        let before = VecDeque::new();
        Self { created, last: 0, by_key: BTreeMap::new(), quiet_until: None, before }
    }

    fn insert(&mut self, now: Duration, key: &str, record: Record) {
        self.quiet_until = self.quiet_until.into_iter().chain(record.goes_at).min();
        let before = self.by_key.insert(key.to_owned(), record);
        self.remember(now, key, before);
    }

    /// Keeps for a while what was there.
    fn remember(&mut self, now: Duration, key: &str, before: Option<Record>) {
        while self.before.front().is_some_and(|(at, ..)| *at + MAX_LAG < now) {
            self.before.pop_front();
        }
        self.before.push_back((now, key.to_owned(), before));
    }

    /// Returns what was there at the time `then`, which is not long ago.
    fn at(&self, then: Duration) -> BTreeMap<String, Record> {
        let mut by_key = self.by_key.clone();
        for (_, key, before) in self.before.iter().rev().take_while(|(at, ..)| *at > then) {
            match before {
                Some(record) => drop(by_key.insert(key.clone(), record.clone())),
                None => drop(by_key.remove(key)),
            }
        }
        by_key
    }

    /// Leaves a marker under `key`, and returns its revision.
    fn mark(&mut self, key: &str, now: Duration) -> u64 {
        self.last += 1;
        let goes_at = Some(now + MARKER_TTL);
        let marker = Record { revision: self.last, value: None, goes_at };
        self.insert(now, key, marker);
        self.last
    }

    fn next_to_go(&self) -> Option<(String, Duration)> {
        let going = self.by_key.iter().filter_map(|(key, record)| Some((record.goes_at?, key)));
        going.min().map(|(at, key)| (key.clone(), at))
    }
}

fn numbered(signals: &[Signal]) -> impl Iterator<Item = (u64, &Signal)> {
    signals.iter().enumerate().map(|(at, signal)| (at as u64 + 1, signal))
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
        let told = store.written(BUCKET, 1, Duration::ZERO);
        assert_eq!((told, store.look(BUCKET).1), ((vec![(KEY.to_owned(), 2, None)], true), 2));
        assert!(is_conflict(put(&mut store, Expected::Revision(1), None)), "it is gone");
        assert!(store.advance(Duration::from_secs(70)).is_empty());
        assert!(store.next_written(BUCKET, 0).is_none(), "the marker goes as well");
        assert!(is_conflict(put(&mut store, Expected::Revision(2), None)));
        assert_eq!(put(&mut store, Expected::Nothing, None).ok(), Some(3), "revisions go on");
    }

    #[test]
    fn what_was_removed_can_be_made_again_over_its_marker() {
        let mut store = store();
        put(&mut store, Expected::Nothing, None).expect("it is new");
        store.remove(BUCKET, KEY, None, Duration::ZERO).expect("it is there");
        assert_eq!(put(&mut store, Expected::Nothing, None).ok(), Some(3));
        assert_eq!(
            store.written(BUCKET, 0, Duration::ZERO).0.len(),
            1,
            "one message a key is kept"
        );
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

    #[test]
    fn a_server_that_lags_tells_what_was_so_before() {
        let mut store = store();
        let second = Duration::from_secs(1);
        put(&mut store, Expected::Nothing, None).expect("it is new");
        store.advance(second);
        store.remove(BUCKET, KEY, None, second).expect("it is there");
        store.advance(second * 2);
        put(&mut store, Expected::Nothing, None).expect("it is gone");
        let told = |lag| {
            let (entries, _) = store.written(BUCKET, 0, second * lag);
            entries.into_iter().map(|(_, revision, value)| (revision, value.is_some())).next()
        };
        assert_eq!([told(0), told(1), told(2)], [(3, true), (2, false), (1, true)].map(Some));
        assert_eq!(store.next_written(BUCKET, 2).map(|(_, revision, _)| revision), Some(3));
    }

    #[test]
    fn the_log_drops_its_oldest_signals_and_their_copies_tell_of_them() {
        let (mut store, payload) = (store(), Bytes::from_static(b"{}"));
        store.limit_log(2);
        for (second, subject) in ["a", "b", "b", "b"].into_iter().enumerate() {
            let now = Duration::from_secs(second as u64 * 31);
            store.advance(now);
            let id = second.to_string();
            store.append(subject, &id, &payload, None, now).expect("it is stored");
        }
        let LogReach { first, last, .. } = store.reach();
        assert_eq!((first, last, store.last_of("a"), store.last_of("b")), (3, 4, 0, 4));
        assert_eq!((store.last_copied("a"), store.last_copied("b")), (Some(1), Some(3)));
        assert_eq!((store.copies(), store.copied(1), store.copied(2)), ((1, 3), Some(1), None));
        let numbers = |lag| {
            let (found, _) = store.signals("b", 1, Duration::from_secs(lag));
            found.into_iter().map(|(number, _)| number).collect::<Vec<_>>()
        };
        assert_eq!((numbers(0), numbers(1)), (vec![3, 4], vec![2, 3]), "one that lags");
    }
}
