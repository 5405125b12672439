//! A key that authenticates what is kept where others can write, derived from the file of a secret.

use std::fmt;
use std::path::Path;

use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac::{self, HMAC_SHA256};

use crate::secret::{SecretError, read_secret};

/// An HMAC-SHA-256 key.
#[derive(Clone)]
pub struct MacKey(hmac::Key);

impl MacKey {
    /// Derives the key for `purpose` from the secret in the file `path`, of at least `min_bytes`.
    /// Keys for different purposes tell nothing of each other (RFC 5869).
    ///
    /// # Errors
    ///
    /// Names a file that is missing, unreadable, empty or too short.
    pub fn load(
        path: impl AsRef<Path>,
        min_bytes: usize,
        purpose: &str,
    ) -> Result<Self, SecretError> {
        Ok(Self::derive(&read_secret(path, min_bytes)?, purpose))
    }

    /// Derives the key for `purpose` from `secret`, as [`MacKey::load`] does from a file.
    pub fn derive(secret: &[u8], purpose: &str) -> Self {
        let derived = Salt::new(HKDF_SHA256, purpose.as_bytes()).extract(secret);
        let key = derived.expand(&[], HMAC_SHA256).expect("HKDF-SHA256 gives a key of 32 bytes");
        Self(hmac::Key::from(key))
    }

    /// Returns the code of all `parts` behind one another. Where one ends is not part of it.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        parts.iter().for_each(|part| context.update(part));
        context.sign().as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::hmac_sha256;

    #[test]
    fn the_derivation_stays_as_it_is() {
        // RFC 5869: extract with the purpose as salt, expand to one block.
        let extracted = hmac_sha256(b"purpose", &[7; 32]);
        let key = hmac_sha256(&extracted, &[1]);
        let derived = MacKey::derive(&[7; 32], "purpose");
        assert_eq!(derived.sign(&[b"ab", b"c"]), hmac_sha256(&key, b"abc"));
        assert_ne!(derived.sign(&[b"abc"]), MacKey::derive(&[7; 32], "other").sign(&[b"abc"]));
        assert_eq!(format!("{derived:?}"), "MacKey([redacted])");
    }
}
