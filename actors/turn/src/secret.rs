//! A secret shared with relays.

use std::fmt;
use std::path::Path;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stream_pki::{SecretError, random_text, read_secret};
use zeroize::Zeroizing;

/// The shortest relay secret, in bytes.
const MIN_BYTES: usize = 64;

/// A relay secret: text, as it stands in the relays' configuration.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    /// Reads the secret that the first unit begins with from the file `path`.
    pub(crate) fn first(path: &Path) -> Result<Self, SecretError> {
        let bytes = read_secret(path, MIN_BYTES)?;
        match str::from_utf8(&bytes) {
            Ok(text) if is_secret(text) => Ok(Self(Zeroizing::new(text.to_owned()))),
            _ => {
                let source = std::io::Error::other("a relay secret is visible ASCII text");
                Err(SecretError::Unreadable { path: path.to_owned(), source })
            }
        }
    }

    /// Returns a secret that nobody has seen.
    pub(crate) fn random() -> Self {
        Self(random_text(MIN_BYTES))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// Refuses a file for the first secret that cannot hold one. A missing file is fine: another node
/// may have written the record.
pub(crate) fn check_first(path: &Path) -> Result<(), SecretError> {
    match Secret::first(path) {
        Ok(_) | Err(SecretError::Missing { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns whether `text` is long enough, and can stand in a line of the relay's configuration.
fn is_secret(text: &str) -> bool {
    text.len() >= MIN_BYTES && text.bytes().all(|b| b.is_ascii_graphic())
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let secret = Zeroizing::new(String::deserialize(deserializer)?);
        if is_secret(&secret) {
            return Ok(Self(secret));
        }
        Err(D::Error::custom("a relay secret that is too short or not visible ASCII text"))
    }
}

#[cfg(test)]
mod tests {
    use stream_pki::write_new;

    use super::*;

    fn first(text: &str) -> Result<Secret, SecretError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("turn.secret");
        write_new(&path, text.as_bytes(), 0o600).unwrap();
        Secret::first(&path)
    }

    #[test]
    fn the_secret_is_the_text_of_the_file() {
        let text = "s".repeat(64);
        assert_eq!(first(&text).unwrap().as_str(), text);
        assert_eq!(first(&(text.clone() + "\n")).unwrap().as_str(), text);
    }

    #[test]
    fn a_secret_that_is_short_or_no_plain_text_is_refused() {
        assert!(matches!(first(&"s".repeat(63)), Err(SecretError::Short { found: 63, .. })));
        for text in ["s".repeat(63) + " ", "s".repeat(63) + "é", "s\n".repeat(40)] {
            assert!(matches!(first(&text), Err(SecretError::Unreadable { .. })), "{text:?}");
        }
        let error = serde_json::from_str::<Secret>("\"short\"").unwrap_err().to_string();
        assert!(error.contains("too short"), "{error}");
    }

    #[test]
    fn a_missing_first_secret_stops_nothing_but_a_short_one_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("turn.secret");
        assert!(check_first(&path).is_ok());
        write_new(&path, b"short", 0o600).unwrap();
        assert!(check_first(&path).is_err());
    }

    #[test]
    fn a_secret_survives_its_text_and_is_never_printed() {
        let secret = first(&"s".repeat(64)).unwrap();
        let json = serde_json::to_string(&secret).unwrap();
        assert_eq!(serde_json::from_str::<Secret>(&json).unwrap().as_str(), secret.as_str());
        assert!(!format!("{secret:?}").contains("sss"));
    }

    #[test]
    fn a_random_secret_is_one_that_relays_take() {
        let secret = Secret::random();
        assert!(is_secret(secret.as_str()) && secret != Secret::random());
    }
}
