//! Macaroons, byte-compatible with `gopkg.in/macaroon.v2`: the binary format, version 2, in base64.
//!
//! Asked by `tokens`, which knows what a caveat means; here a caveat is text. Asks nobody, and does
//! no I/O. The crate accepts a subset of what the Go library does: strict base64, one way to write
//! each macaroon in bytes, UTF-8 throughout, first-party caveats only, bounded in size.

mod base64;
mod binary;
mod signature;

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The longest text that is decoded, in characters.
pub const MAX_TEXT: usize = 4096;

/// The most caveats a macaroon may have when it is decoded.
pub const MAX_CAVEATS: usize = 32;

/// A bearer token whose holder can narrow it and cannot widen it.
///
/// Its signature is the whole secret: it is wiped when dropped and never printed, except by
/// [`Macaroon::encode`].
///
/// A service mints a token, a holder narrows it without the key, and the service verifies it:
///
/// ```
/// use stream_macaroon::{Key, Macaroon, MacaroonError};
///
/// let key = Key::derive(b"a root key; 64 random bytes in production");
/// let mut minted = Macaroon::new(&key, "example-service", "token-1");
/// minted.add_first_party("allow session.read session.delete");
///
/// let mut narrowed = Macaroon::decode(&minted.encode())?;
/// narrowed.add_first_party("allow session.read");
///
/// let shown = Macaroon::decode(&narrowed.encode())?;
/// shown.verify(&key)?;
/// assert_eq!(shown.caveats(), ["allow session.read session.delete", "allow session.read"]);
/// assert_eq!(shown.verify(&Key::derive(b"another key")), Err(MacaroonError::Signature));
/// # Ok::<(), MacaroonError>(())
/// ```
#[derive(Clone)]
pub struct Macaroon {
    location: String,
    identifier: String,
    caveats: Vec<String>,
    signature: Signature,
}

type Signature = Zeroizing<[u8; 32]>;

/// A root key, ready to sign and verify; wiped when dropped.
#[derive(Clone)]
pub struct Key(Signature);

impl Key {
    /// Derives the key from a root key of any length, which is all the work that does not depend on
    /// a macaroon.
    pub fn derive(root_key: &[u8]) -> Self {
        Self(signature::derive(root_key))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key([redacted])")
    }
}

impl Macaroon {
    /// Makes a macaroon without caveats, signed with `key`.
    ///
    /// `location` is a hint that the signature does not cover.
    pub fn new(key: &Key, location: &str, identifier: &str) -> Self {
        Self {
            location: location.to_owned(),
            identifier: identifier.to_owned(),
            caveats: Vec::new(),
            signature: signature::start(key, identifier),
        }
    }

    /// Narrows the macaroon by `caveat`, for which no key is needed.
    ///
    /// It checks no bounds: [`Macaroon::decode`] refuses more than [`MAX_CAVEATS`] caveats or
    /// [`MAX_TEXT`] characters.
    pub fn add_first_party(&mut self, caveat: &str) {
        self.signature = signature::extend(&self.signature, caveat);
        self.caveats.push(caveat.to_owned());
    }

    pub fn location(&self) -> &str {
        &self.location
    }

    pub fn identifier(&self) -> &str {
        &self.identifier
    }

    /// The caveats in the order they were added.
    pub fn caveats(&self) -> &[String] {
        &self.caveats
    }

    /// Returns the token as text: URL-safe base64 without padding. The text is the secret.
    pub fn encode(&self) -> String {
        base64::encode(&binary::encode(self))
    }

    /// Reads a token from either base64 alphabet, padded or not, without verifying it.
    ///
    /// # Errors
    ///
    /// Refuses what is no macaroon of binary format 2, exceeds [`MAX_TEXT`] or [`MAX_CAVEATS`], or
    /// has a third-party caveat.
    pub fn decode(text: &str) -> Result<Self, MacaroonError> {
        binary::decode(&base64::decode(text)?)
    }

    /// Checks in constant time that identifier and caveats were signed with `key`. Whether the
    /// caveats hold, the caller decides.
    ///
    /// # Errors
    ///
    /// [`MacaroonError::Signature`] when they were not.
    pub fn verify(&self, key: &Key) -> Result<(), MacaroonError> {
        let signature =
            self.caveats.iter().fold(signature::start(key, &self.identifier), |s, caveat| {
                signature::extend(&s, caveat)
            });
        match bool::from(signature.as_slice().ct_eq(self.signature.as_slice())) {
            true => Ok(()),
            false => Err(MacaroonError::Signature),
        }
    }
}

impl fmt::Debug for Macaroon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Macaroon")
            .field("location", &self.location)
            .field("identifier", &self.identifier)
            .field("caveats", &self.caveats)
            .field("signature", &"[redacted]")
            .finish()
    }
}

/// Why a text is no macaroon, or not one of ours. The bearer never learns which.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MacaroonError {
    #[error("the token is not base64")]
    Base64,
    #[error("the token is not a macaroon of binary format 2")]
    Malformed,
    #[error("the token is not signed with this key")]
    Signature,
    #[error("the token has a third-party caveat, which nobody here discharges")]
    ThirdParty,
    #[error("the token is longer than {MAX_TEXT} characters")]
    TooLong,
    #[error("the token has more than {MAX_CAVEATS} caveats")]
    TooManyCaveats,
}
