//! The ticket keys that the units of a service share, and when one replaces another. Pure; stored
//! sealed in NATS.
//!
//! The order of the keys says which one makes tickets; their times only say when it is to be
//! replaced. So a clock that is wrong, here or on another unit, may replace a key too early, but
//! takes away none that made tickets a moment ago.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stream_pki::{TICKET_LIFETIME, TicketKey, random_bytes, random_text};
use stream_protocol::Timestamp;
use zeroize::Zeroizing;

/// How long one key makes tickets, in seconds.
const PERIOD_S: u64 = 6 * 60 * 60;

/// How far the clock of the unit that made a key may be ahead of ours, in seconds.
const SLACK_S: u64 = 10 * 60;

/// How long a key is kept, in seconds: until the last ticket made with it has ended.
const KEPT_S: u64 = PERIOD_S + TICKET_LIFETIME.as_secs() + SLACK_S;

/// Keys in the record at most. Two or three are usual; clocks that disagree make more.
const MAX_KEYS: usize = 8;

/// How long a unit that added a key adds no other, whatever its clock says: otherwise two units
/// that disagree would push out each other's keys before their tickets have ended.
pub(crate) const ADD_AT_MOST_EVERY: Duration = Duration::from_secs(60 * 60);

/// Keys of tickets, the newest last; never empty.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct TicketKeyring {
    #[serde(deserialize_with = "some")]
    keys: Vec<Key>,
}

#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Key {
    /// No secret: it stands in every ticket.
    #[serde(deserialize_with = "read_name")]
    name: String,
    #[serde(serialize_with = "print_key", deserialize_with = "read_key")]
    key: Zeroizing<[u8; 32]>,
    created_at: Timestamp,
}

impl TicketKeyring {
    /// Returns the keyring that the first unit writes.
    pub(crate) fn first(now: Timestamp) -> Self {
        Self { keys: vec![Key::fresh(now)] }
    }

    /// Returns whether a new key is due: the newest is old, or of a time that has not come yet.
    pub(crate) fn are_due(&self, now: Timestamp) -> bool {
        self.keys.last().is_none_or(|newest| {
            now >= newest.created_at.plus_secs(PERIOD_S)
                || newest.created_at > now.plus_secs(SLACK_S)
        })
    }

    /// Makes `fresh` the key that makes tickets, and drops the keys whose tickets have all ended.
    /// The key that made them so far stays in any case.
    pub(crate) fn rotate(&mut self, fresh: Key, now: Timestamp) {
        let newest = self.keys.pop();
        self.keys.retain(|key| now < key.created_at.plus_secs(KEPT_S));
        self.keys.extend(newest);
        self.keys.push(fresh);
        let surplus = self.keys.len().saturating_sub(MAX_KEYS);
        self.keys.drain(..surplus);
    }

    /// Returns the keys as servers use them, the newest last.
    pub(crate) fn for_servers(&self) -> Vec<TicketKey> {
        self.keys.iter().map(Key::for_servers).collect()
    }
}

impl Key {
    pub(crate) fn fresh(now: Timestamp) -> Self {
        let name = random_text(TicketKey::NAME_LEN).to_string();
        Self { name, key: random_bytes(), created_at: now }
    }

    fn for_servers(&self) -> TicketKey {
        let name = self.name.as_bytes().try_into().expect("a name has its length");
        TicketKey::new(name, &self.key)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .field("key", &"[redacted]")
            .field("created_at", &self.created_at)
            .finish()
    }
}

fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Key>, D::Error> {
    let keys = Vec::deserialize(deserializer)?;
    match keys.len() {
        1..=MAX_KEYS => Ok(keys),
        len => Err(D::Error::custom(format!("{len} keys of tickets"))),
    }
}

fn read_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    match name.len() {
        TicketKey::NAME_LEN => Ok(name),
        len => Err(D::Error::custom(format!("a name of {len} bytes"))),
    }
}

fn print_key<S: Serializer>(key: &Zeroizing<[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&Zeroizing::new(STANDARD.encode(**key)))
}

fn read_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<[u8; 32]>, D::Error> {
    let text = Zeroizing::new(String::deserialize(deserializer)?);
    let bytes = STANDARD.decode(&*text).map(Zeroizing::new);
    // The cause is left out of the error: it would quote the key.
    let key = bytes.ok().and_then(|bytes| bytes.as_slice().try_into().ok());
    key.map(Zeroizing::new).ok_or_else(|| D::Error::custom("a key of tickets is 32 bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 60 * 60;
    const NOW: u64 = 1_000 * HOUR;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_unix(second)
    }

    fn created(seconds: &[u64]) -> TicketKeyring {
        let key = |second| Key { created_at: at(second), ..Key::fresh(at(0)) };
        TicketKeyring { keys: seconds.iter().copied().map(key).collect() }
    }

    fn times(keys: &TicketKeyring) -> Vec<u64> {
        keys.keys.iter().map(|key| key.created_at.as_unix()).collect()
    }

    fn rotated(seconds: &[u64], now: u64) -> Vec<u64> {
        let mut keys = created(seconds);
        keys.rotate(Key::fresh(at(now)), at(now));
        times(&keys)
    }

    #[test]
    fn a_key_is_due_after_six_hours_and_not_before() {
        let keys = TicketKeyring::first(at(NOW));
        assert!(!keys.are_due(at(NOW)) && !keys.are_due(at(NOW + 6 * HOUR - 1)));
        assert!(keys.are_due(at(NOW + 6 * HOUR)));
        // Only the newest counts.
        assert!(!created(&[0, NOW]).are_due(at(NOW)));
    }

    #[test]
    fn a_key_of_a_clock_that_was_far_ahead_does_not_stay_for_ever() {
        assert!(!created(&[NOW + SLACK_S]).are_due(at(NOW)), "clocks are never quite the same");
        assert!(created(&[NOW + SLACK_S + 1]).are_due(at(NOW)));
        assert!(created(&[u64::MAX]).are_due(at(NOW)));
    }

    #[test]
    fn keys_are_dropped_when_their_last_ticket_has_ended() {
        let day = [NOW - 18 * HOUR, NOW - 12 * HOUR, NOW - 6 * HOUR];
        assert_eq!(rotated(&day, NOW), [NOW - 12 * HOUR, NOW - 6 * HOUR, NOW]);
        // The second last ended its work six hours ago, as far as all clocks agree.
        assert_eq!(rotated(&day[1..], NOW + SLACK_S), [NOW - 6 * HOUR, NOW + SLACK_S]);
    }

    #[test]
    fn the_key_that_made_tickets_so_far_outlives_any_jump_of_the_clock() {
        assert_eq!(rotated(&[NOW - 6 * HOUR, NOW], NOW * 100), [NOW, NOW * 100]);
        assert_eq!(rotated(&[NOW - 6 * HOUR, NOW], 0), [NOW - 6 * HOUR, NOW, 0]);
        assert_eq!(rotated(&[u64::MAX], NOW), [u64::MAX, NOW]);
    }

    #[test]
    fn keys_of_clocks_that_disagree_do_not_pile_up() {
        let ahead: Vec<_> = (0..MAX_KEYS as u64).map(|n| NOW * 2 + n).collect();
        let keys = rotated(&ahead, NOW);
        assert_eq!((keys.len(), keys.last()), (MAX_KEYS, Some(&NOW)));
        assert_eq!(keys[0], ahead[1], "the oldest goes, by its place");
    }

    #[test]
    fn keys_survive_their_text_and_are_printed_without_their_secret() {
        let mut keys = TicketKeyring::first(at(NOW));
        keys.rotate(Key::fresh(at(NOW + 1)), at(NOW + 1));
        let text = serde_json::to_string(&keys).unwrap();
        let read: TicketKeyring = serde_json::from_str(&text).unwrap();
        for (read, written) in read.keys.iter().zip(&keys.keys) {
            assert_eq!((&read.name, &read.key), (&written.name, &written.key));
        }
        assert_eq!((times(&read), read.for_servers().len()), (vec![NOW, NOW + 1], 2));
        let secret = STANDARD.encode(*keys.keys[0].key);
        let printed = format!("{keys:?}");
        assert!(printed.contains("[redacted]") && !printed.contains(&secret), "{printed}");
    }

    #[test]
    fn what_are_no_keys_is_refused_without_being_quoted() {
        let name = "n".repeat(TicketKey::NAME_LEN);
        let key = |name: &str, key: &str| {
            format!(r#"{{"keys":[{{"name":"{name}","key":"{key}","created_at":0}}]}}"#)
        };
        let good = "A".repeat(43) + "=";
        assert!(serde_json::from_str::<TicketKeyring>(&key(&name, &good)).is_ok());
        for text in [r#"{"keys":[]}"#, &key("short", &good), &key(&name, "AAAA"), &key(&name, "!")]
        {
            let error = serde_json::from_str::<TicketKeyring>(text).unwrap_err().to_string();
            assert!(!error.contains("AAAA") && !error.contains('!'), "{error}");
        }
    }

    proptest! {
        /// Units with clocks of their own, each of which adds a key when it sees one due.
        #[test]
        fn whatever_the_clocks_say_the_newest_key_but_one_stays_and_there_are_few(
            clocks in prop::collection::vec(0..=u64::MAX / 2, 1..40),
        ) {
            let mut keys = TicketKeyring::first(at(clocks[0]));
            for clock in clocks {
                let before = keys.clone();
                if keys.are_due(at(clock)) {
                    keys.rotate(Key::fresh(at(clock)), at(clock));
                    let kept = keys.keys.len() - 2;
                    let replaced = before.keys.last().map(|key| &key.name);
                    prop_assert_eq!(Some(&keys.keys[kept].name), replaced);
                    prop_assert!(!keys.are_due(at(clock)), "one is enough");
                }
                prop_assert!((1..=MAX_KEYS).contains(&keys.keys.len()));
            }
        }
    }
}
