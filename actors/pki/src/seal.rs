//! Sealing: makes what is stored where others can read and replace it unreadable, and binds it to
//! its place.

use std::fmt;
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

use crate::random::random_bytes;
use crate::secret::{SecretError, read_secret};

/// Separates this use of a key file, and this way of sealing, from any other.
const PURPOSE: &[u8] = b"stream seal v1, AES-256-GCM";

/// Seals and opens under the key of one file, with AES-256-GCM.
pub struct Seal(LessSafeKey);

impl Seal {
    /// The shortest sealing key, in bytes.
    pub const MIN_KEY_BYTES: usize = 32;

    /// Reads the key from the file `path`.
    ///
    /// Like every secret it is text: the key is derived from all of it.
    ///
    /// # Errors
    ///
    /// Names a file that is missing, unreadable, empty or shorter than 32 bytes.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, SecretError> {
        Ok(Self::derive(&read_secret(path, Self::MIN_KEY_BYTES)?))
    }

    /// Returns `plain` sealed: only the same key opens it, and only with the same `associated`.
    ///
    /// Nonces are random, which is safe for some 2^32 seals under one key.
    pub fn seal(&self, associated: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce = random_bytes::<NONCE_LEN>();
        // Room for the tag as well: a vector that grows leaves a copy of the plain text behind.
        let mut text = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
        text.extend_from_slice(plain);
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(associated),
                &mut *text,
            )
            .expect("no plain text of ours reaches the 64 GiB that AES-GCM takes");
        [nonce.as_slice(), &text].concat()
    }

    /// Returns what was sealed.
    ///
    /// # Errors
    ///
    /// Refuses what was sealed under another key or with other `associated` data, and what was
    /// changed since.
    pub fn open(
        &self,
        associated: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(UnsealError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| UnsealError)?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self
            .0
            .open_in_place(nonce, Aad::from(associated), &mut text)
            .map_err(|_| UnsealError)?
            .len();
        text.truncate(length);
        Ok(text)
    }

    fn derive(secret: &[u8]) -> Self {
        let derived = Salt::new(HKDF_SHA256, PURPOSE).extract(secret);
        let key = derived.expand(&[], &AES_256_GCM).expect("HKDF-SHA256 gives a key of 32 bytes");
        Self(LessSafeKey::new(UnboundKey::from(key)))
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal([redacted])")
    }
}

/// Sealed bytes do not open; there is no telling which of the causes it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("sealed under another key or for another place, or changed since")]
pub struct UnsealError;

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::files::write_new;

    fn seal() -> Seal {
        Seal::derive(&[7; 32])
    }

    #[test]
    fn the_format_stays_as_it_is() {
        // Made with Python: prk = HMAC-SHA256(PURPOSE, 32 times 0x07), key = HMAC-SHA256(prk, 1),
        // then cryptography's AESGCM(key).encrypt(bytes(12), b"plain", b"place") behind its nonce.
        let sealed = [
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x9d, 0xd9, 0x3f, 0x65, 0x38, 0xcf, 0x21, 0xd6,
            0x29, 0x0c, 0x44, 0xa8, 0x9f, 0xe7, 0xea, 0x1a, 0xcd, 0x9b, 0x1e, 0xf3, 0x7c,
        ];
        assert_eq!(*seal().open(b"place", &sealed).unwrap(), b"plain");
    }

    #[test]
    fn another_key_or_place_does_not_open_it() {
        let sealed = seal().seal(b"here", b"plain");
        assert_eq!(seal().open(b"there", &sealed), Err(UnsealError));
        assert_eq!(Seal::derive(&[8; 32]).open(b"here", &sealed), Err(UnsealError));
    }

    #[test]
    fn the_same_plain_text_never_looks_the_same() {
        assert_ne!(seal().seal(b"", b"plain"), seal().seal(b"", b"plain"));
    }

    #[test]
    fn a_key_file_is_text_of_32_bytes_or_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sealing.key");
        write_new(&path, "k".repeat(31).as_bytes(), 0o600).unwrap();
        assert!(matches!(Seal::load(&path), Err(SecretError::Short { found: 31, .. })));

        fs::write(&path, "k".repeat(32)).unwrap();
        let sealed = Seal::load(&path).unwrap().seal(b"", b"plain");
        fs::write(&path, "k".repeat(32) + "\n").unwrap();
        assert_eq!(*Seal::load(&path).unwrap().open(b"", &sealed).unwrap(), b"plain");
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_and_any_changed_bit_refuses(
            associated: Vec<u8>,
            plain: Vec<u8>,
            bit: prop::sample::Index,
        ) {
            let mut sealed = seal().seal(&associated, &plain);
            prop_assert_eq!(&*seal().open(&associated, &sealed).unwrap(), &plain);
            let bit = bit.index(sealed.len() * 8);
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(seal().open(&associated, &sealed), Err(UnsealError));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            prop_assert_eq!(seal().open(b"", &bytes), Err(UnsealError));
        }
    }
}
