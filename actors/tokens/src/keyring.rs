//! The root keys of one side: the newest signs, all of them verify.

use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stream_pki::{SecretError, read_secret};
use zeroize::Zeroizing;

use crate::identifier::KID_LENGTH;

/// The fewest bytes of a root key.
const MIN_KEY_BYTES: usize = 64;

/// Root keys, the newest last; never empty.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Keyring {
    #[serde(deserialize_with = "at_least_one")]
    keys: Vec<RootKey>,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct RootKey {
    pub(crate) kid: String,
    #[serde(serialize_with = "print_key", deserialize_with = "read_key")]
    pub(crate) key: Zeroizing<Vec<u8>>,
    /// Unix seconds.
    created_at: u64,
}

impl Keyring {
    /// Returns the keyring that the first unit begins with: the key in the file `path`.
    pub(crate) fn first(path: &Path) -> Result<Self, SecretError> {
        let created_at = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs());
        Ok(Self { keys: vec![RootKey::new(read_secret(path, MIN_KEY_BYTES)?, created_at)] })
    }

    /// The key that signs.
    pub(crate) fn newest(&self) -> &RootKey {
        self.keys.last().expect("a keyring is never empty")
    }

    /// The key that signed what names `kid`.
    pub(crate) fn find(&self, kid: &str) -> Option<&RootKey> {
        self.keys.iter().find(|key| key.kid == kid)
    }
}

impl RootKey {
    fn new(key: Zeroizing<Vec<u8>>, created_at: u64) -> Self {
        // Derived, so that a record that was lost and begun anew from the same file verifies the
        // tokens of the old one.
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), b"stream root key id");
        let kid = URL_SAFE_NO_PAD.encode(&tag.as_ref()[..KID_LENGTH / 4 * 3]);
        Self { kid, key, created_at }
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKey")
            .field("kid", &self.kid)
            .field("key", &"[redacted]")
            .field("created_at", &self.created_at)
            .finish()
    }
}

/// Refuses a file for the first root key that cannot hold one. That there is none is fine: the
/// root keys may have been begun on another node.
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
    use std::fs;

    use super::*;

    /// A keyring of keys made of one letter each.
    pub(crate) fn of(letters: &[u8]) -> Keyring {
        let key = |&letter| RootKey::new(Zeroizing::new(vec![letter; MIN_KEY_BYTES]), 0);
        Keyring { keys: letters.iter().map(key).collect() }
    }

    #[test]
    fn the_newest_key_signs_and_all_are_found() {
        let keyring = of(b"ab");
        assert_eq!(*keyring.newest().key, [b'b'; 64]);
        let old = of(b"a").newest().kid.clone();
        assert_eq!(*keyring.find(&old).unwrap().key, [b'a'; 64]);
        assert!(keyring.find("unknown_").is_none());
    }

    #[test]
    fn a_keyring_survives_its_text_and_is_printed_without_its_keys() {
        let json = serde_json::to_string(&of(b"ab")).unwrap();
        let read: Keyring = serde_json::from_str(&json).unwrap();
        assert_eq!(*read.newest().key, [b'b'; 64]);
        assert!(!format!("{read:?}").contains("bbbb"));
        assert!(!format!("{read:?}").contains("98, 98"));
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
        fs::write(&path, "k".repeat(64)).unwrap();
        let kid = Keyring::first(&path).unwrap().newest().kid.clone();
        assert_eq!(kid.len(), KID_LENGTH);
        assert_eq!(Keyring::first(&path).unwrap().newest().kid, kid);
        assert_ne!(of(b"x").newest().kid, kid);
    }

    #[test]
    fn a_short_first_key_stops_the_start_and_a_missing_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.key");
        assert!(check_first(&path).is_ok());
        assert!(matches!(Keyring::first(&path), Err(SecretError::Missing { .. })));
        fs::write(&path, "k".repeat(63)).unwrap();
        assert!(matches!(check_first(&path), Err(SecretError::Short { found: 63, .. })));
    }
}
