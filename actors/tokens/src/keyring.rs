//! The root keys of one service: the newest that is in force signs, all of them verify.
//!
//! A key that a unit has not read yet must not sign what that unit verifies. A new key comes into
//! force a while after it is written, longer than any unit goes on without reading the record.

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stream_macaroon::Key;
use stream_pki::{SecretError, hmac_sha256, random_bytes, read_secret};
use stream_protocol::Timestamp;
use zeroize::Zeroizing;

use crate::identifier::KID_LENGTH;
use crate::{KeyInfo, KeyState, TokensError};

/// The shortest root key, in bytes.
const MIN_KEY_BYTES: usize = 64;

/// Root keys that a service may have at once. More would mean that nobody retires them.
const MAX_KEYS: usize = 8;

/// Root keys, the newest last; never empty.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Keyring {
    #[serde(deserialize_with = "at_least_one")]
    keys: Vec<RootKey>,
}

#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct RootKey {
    pub(crate) kid: String,
    #[serde(serialize_with = "print_key", deserialize_with = "read_key")]
    key: Zeroizing<Vec<u8>>,
    created_at: Timestamp,
    /// It signs nothing before.
    #[serde(default)]
    active_from: Timestamp,
    #[serde(skip)]
    derived: OnceLock<Key>,
}

impl Keyring {
    /// Returns the keyring that the first unit begins with: the key in the file `path`.
    pub(crate) fn first(path: &Path) -> Result<Self, SecretError> {
        let key = read_secret(path, MIN_KEY_BYTES)?;
        Ok(Self { keys: vec![RootKey::new(key, Timestamp::now(), Timestamp::EPOCH)] })
    }

    /// Returns whether the key in the file `path` is one of these.
    pub(crate) fn holds(&self, path: &Path) -> Result<bool, SecretError> {
        let first = Self::first(path)?;
        Ok(first.keys.iter().all(|key| self.find(&key.kid).is_some()))
    }

    /// Returns the key that signs at `now`: the newest in force. On a clock that is behind all of
    /// them it is the first.
    pub(crate) fn active(&self, now: Timestamp) -> &RootKey {
        let in_force = self.keys.iter().rfind(|key| key.active_from <= now);
        in_force.or(self.keys.first()).expect("a keyring is never empty")
    }

    /// Returns the key `kid`.
    pub(crate) fn find(&self, kid: &str) -> Option<&RootKey> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    /// Adds `key`. Refuses while another new key is not in force yet, and more than [`MAX_KEYS`].
    pub(crate) fn add(&mut self, key: RootKey, now: Timestamp) -> Result<(), TokensError> {
        if let Some(pending) = self.keys.iter().find(|key| key.active_from > now) {
            let seconds = pending.active_from.secs_since(now);
            let (kid, text) = (&pending.kid, "is not in force yet: wait");
            return Err(TokensError::Refused(format!("the new key {kid} {text} {seconds} s")));
        }
        if self.keys.len() >= MAX_KEYS {
            let text = format!("there are {MAX_KEYS} keys already: retire old ones first");
            return Err(TokensError::Refused(text));
        }
        self.keys.push(key);
        Ok(())
    }

    /// Removes the key `kid`, which invalidates what it signed. Refuses the key that signs and one
    /// that will.
    pub(crate) fn retire(&mut self, kid: &str, now: Timestamp) -> Result<(), TokensError> {
        let refused = |text: &str| Err(TokensError::Refused(format!("the key {kid} {text}")));
        match self.list(now).into_iter().find(|key| key.kid == kid).map(|key| key.state) {
            None => refused("does not exist"),
            Some(KeyState::Active) => refused("signs new tokens: rotate first"),
            Some(KeyState::Pending) => refused("is about to sign new tokens"),
            Some(KeyState::Old) => {
                self.keys.retain(|key| key.kid != kid);
                Ok(())
            }
        }
    }

    /// Returns what may be shown of the keys, the newest last.
    pub(crate) fn list(&self, now: Timestamp) -> Vec<KeyInfo> {
        let active = &self.active(now).kid;
        let info = |key: &RootKey| KeyInfo {
            kid: key.kid.clone(),
            created_at: key.created_at,
            active_from: key.active_from,
            state: match key.active_from > now {
                _ if key.kid == *active => KeyState::Active,
                true => KeyState::Pending,
                false => KeyState::Old,
            },
        };
        self.keys.iter().map(info).collect()
    }
}

/// The longest time until a new key signs. Until then no other can be made, nor this one retired.
const MAX_LEAD: Duration = Duration::from_secs(30 * 24 * 3600);

/// Refuses a key that would stand in the way for long.
pub(crate) fn check_lead(lead: Duration) -> Result<(), TokensError> {
    if lead > MAX_LEAD {
        let text = format!("a lead is at most {} s, 30 days", MAX_LEAD.as_secs());
        return Err(TokensError::Refused(text));
    }
    Ok(())
}

impl RootKey {
    /// Makes a key that begins to sign `lead` after `now`.
    pub(crate) fn fresh(now: Timestamp, lead: Duration) -> Self {
        let key = Zeroizing::new(random_bytes::<MIN_KEY_BYTES>().to_vec());
        Self::new(key, now, now + lead)
    }

    fn new(key: Zeroizing<Vec<u8>>, created_at: Timestamp, active_from: Timestamp) -> Self {
        // Derived from the key, so that a record that was lost and begun again from the file of the
        // first key verifies the tokens of the lost one.
        let tag = hmac_sha256(&key, b"stream root key id");
        let kid = URL_SAFE_NO_PAD.encode(&tag[..KID_LENGTH / 4 * 3]);
        Self { kid, key, created_at, active_from, derived: OnceLock::new() }
    }

    /// Returns what signs and verifies; derived once.
    pub(crate) fn signer(&self) -> &Key {
        self.derived.get_or_init(|| Key::derive(&self.key))
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKey")
            .field("kid", &self.kid)
            .field("key", &"[redacted]")
            .field("created_at", &self.created_at)
            .field("active_from", &self.active_from)
            .finish()
    }
}

/// Refuses a file for the first root key that cannot hold one. A missing file is fine: another node
/// may have written the record.
pub(crate) fn check_first(path: &Path) -> Result<(), SecretError> {
    match read_secret(path, MIN_KEY_BYTES) {
        Ok(_) | Err(SecretError::Missing { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RootKey>, D::Error> {
    let keys = Vec::deserialize(deserializer)?;
    if keys.is_empty() {
        return Err(D::Error::custom("a keyring without keys"));
    }
    Ok(keys)
}

fn print_key<S: Serializer>(key: &Zeroizing<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&Zeroizing::new(STANDARD.encode(&**key)))
}

fn read_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<Vec<u8>>, D::Error> {
    let text = Zeroizing::new(String::deserialize(deserializer)?);
    // The cause is left out of the error: it would quote the key.
    let key = STANDARD.decode(&*text).map_err(|_| D::Error::custom("a root key not in base64"))?;
    let key = Zeroizing::new(key);
    if key.len() < MIN_KEY_BYTES {
        return Err(D::Error::custom("a root key that is too short"));
    }
    Ok(key)
}

#[cfg(test)]
pub(crate) mod tests {
    use stream_pki::write_new;

    use super::*;

    /// A keyring of keys made of one letter each.
    pub(crate) fn of(letters: &[u8]) -> Keyring {
        Keyring { keys: letters.iter().map(|letter| key(*letter, 0)).collect() }
    }

    /// The key that signs in [`of`].
    pub(crate) fn newest(keyring: &Keyring) -> &RootKey {
        keyring.active(Timestamp::now())
    }

    fn key(letter: u8, active_from: u64) -> RootKey {
        RootKey::new(Zeroizing::new(vec![letter; MIN_KEY_BYTES]), at(0), at(active_from))
    }

    fn at(second: u64) -> Timestamp {
        Timestamp::from_unix(second)
    }

    fn states(keyring: &Keyring, now: u64) -> Vec<KeyState> {
        keyring.list(at(now)).into_iter().map(|key| key.state).collect()
    }

    #[test]
    fn a_key_signs_within_thirty_days() {
        let month = Duration::from_secs(2_592_000);
        assert!(check_lead(month).is_ok());
        for lead in [month + Duration::from_secs(1), Duration::from_secs(u64::MAX)] {
            assert!(matches!(check_lead(lead), Err(TokensError::Refused(_))), "{lead:?}");
        }
    }

    #[test]
    fn the_newest_key_in_force_signs_and_all_are_found() {
        let mut keyring = of(b"a");
        keyring.add(key(b'b', 120), at(0)).unwrap();
        assert_eq!(*keyring.active(at(119)).key, [b'a'; 64]);
        assert_eq!(*keyring.active(at(120)).key, [b'b'; 64]);
        let old = key(b'a', 0).kid;
        assert_eq!(*keyring.find(&old).unwrap().key, [b'a'; 64]);
        assert!(keyring.find("unknown_").is_none());
        assert_eq!(states(&keyring, 119), [KeyState::Active, KeyState::Pending]);
        assert_eq!(states(&keyring, 120), [KeyState::Old, KeyState::Active]);
        keyring.add(key(b'c', 120), at(120)).unwrap();
        let of_two = [KeyState::Old, KeyState::Old, KeyState::Active];
        assert_eq!(states(&keyring, 120), of_two, "two of the same second");
    }

    #[test]
    fn a_clock_that_is_behind_signs_with_the_key_that_was_first() {
        let keyring = Keyring { keys: vec![key(b'b', 120), key(b'c', 240)] };
        assert_eq!(*keyring.active(at(0)).key, [b'b'; 64]);
    }

    #[test]
    fn a_second_rotation_waits_for_the_first_and_keys_do_not_pile_up() {
        let mut keyring = of(b"a");
        keyring.add(key(b'b', 120), at(0)).unwrap();
        let refused = keyring.add(key(b'c', 121), at(1)).unwrap_err().to_string();
        assert!(refused.contains("119 s"), "{refused}");
        for letter in b'c'..b'i' {
            keyring.add(key(letter, 120), at(120)).unwrap();
        }
        let refused = keyring.add(key(b'i', 120), at(120)).unwrap_err().to_string();
        assert!(refused.contains("retire"), "{refused}");
    }

    #[test]
    fn only_a_key_that_signs_nothing_any_more_can_be_retired() {
        let mut keyring = of(b"a");
        keyring.add(key(b'b', 120), at(0)).unwrap();
        let (old, new) = (key(b'a', 0).kid, key(b'b', 0).kid);
        for kid in [&old, &new, "unknown_"] {
            assert!(matches!(keyring.retire(kid, at(119)), Err(TokensError::Refused(_))), "{kid}");
        }
        keyring.retire(&old, at(120)).unwrap();
        assert!(keyring.find(&old).is_none() && keyring.find(&new).is_some());
    }

    #[test]
    fn fresh_keys_differ() {
        let fresh = || RootKey::fresh(at(7), Duration::from_secs(120));
        assert_ne!(fresh().kid, fresh().kid);
        assert_eq!((fresh().created_at, fresh().active_from), (at(7), at(127)));
    }

    #[test]
    fn a_keyring_survives_its_text_and_is_printed_without_its_keys() {
        let json = serde_json::to_string(&of(b"ab")).unwrap();
        let read: Keyring = serde_json::from_str(&json).unwrap();
        assert_eq!(*newest(&read).key, [b'b'; 64]);
        let shown = format!("{read:?}");
        assert!(shown.contains(&newest(&read).kid) && shown.contains("[redacted]"), "{shown}");
        assert!(!shown.contains("bbbb") && !shown.contains("98, 98"), "{shown}");
    }

    #[test]
    fn a_keyring_without_keys_or_with_short_ones_is_refused() {
        for json in [
            r#"{"keys":[]}"#,
            r#"{"keys":[{"kid":"abcdefgh","key":"AAAA","created_at":0}]}"#,
            r#"{"keys":[{"kid":"abcdefgh","key":"no base64!","created_at":0}]}"#,
        ] {
            let error = serde_json::from_str::<Keyring>(json).unwrap_err().to_string();
            assert!(!error.contains("AAAA") && !error.contains('!'), "{error}");
        }
    }

    #[test]
    fn the_same_first_key_gives_the_same_key_id() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.key");
        write_new(&path, "k".repeat(64).as_bytes(), 0o600).unwrap();
        let kid = newest(&Keyring::first(&path).unwrap()).kid.clone();
        assert_eq!(kid.len(), KID_LENGTH);
        assert_eq!(newest(&Keyring::first(&path).unwrap()).kid, kid);
        assert_ne!(newest(&of(b"x")).kid, kid);
        assert!(of(b"xk").holds(&path).unwrap());
        assert!(!of(b"x").holds(&path).unwrap());
    }

    #[test]
    fn a_short_first_key_stops_the_start_and_a_missing_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.key");
        assert!(check_first(&path).is_ok());
        assert!(matches!(Keyring::first(&path), Err(SecretError::Missing { .. })));
        write_new(&path, "k".repeat(63).as_bytes(), 0o600).unwrap();
        assert!(matches!(check_first(&path), Err(SecretError::Short { found: 63, .. })));
    }
}
