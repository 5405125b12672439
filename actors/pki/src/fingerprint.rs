use std::fmt;
use std::str::FromStr;

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize, Serializer};

use crate::digest::sha256;

/// The SHA-256 of a certificate's DER: what a pin is, and how a client is recognised.
///
/// Printed as 64 lower-case hex digits; read in either case, with or without `:` between the bytes.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(sha256(certificate))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let pairs: Vec<&[u8]> = match text.len() {
            64 => text.as_bytes().chunks(2).collect(),
            95 => text.as_bytes().split(|&byte| byte == b':').collect(),
            _ => return Err(FingerprintError),
        };
        let bytes: Vec<u8> =
            pairs.into_iter().map(byte).collect::<Option<_>>().ok_or(FingerprintError)?;
        bytes.try_into().map(Self).map_err(|_| FingerprintError)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = FingerprintError;

    fn try_from(text: String) -> Result<Self, FingerprintError> {
        text.parse()
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text is not a fingerprint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a certificate fingerprint: a SHA-256 as 64 hex digits, with ':' between bytes or not")]
pub struct FingerprintError;

fn byte(pair: &[u8]) -> Option<u8> {
    let &[high, low] = pair else { return None };
    let digit = |character: u8| char::from(character).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_fingerprint_is_the_sha_256_of_the_der() {
        // FIPS 180-2, appendix B.1: the digest of "abc".
        assert_eq!(Fingerprint::of(&CertificateDer::from(&b"abc"[..])).to_string(), TEXT);
    }

    #[test]
    fn what_is_not_one_is_refused() {
        let colon_in_a_pair = format!("{}:{}", &TEXT[..1], &TEXT[2..]);
        for text in
            ["", "ba78", &TEXT[1..], &TEXT.replace('b', "g"), &colon_in_a_pair, &"é".repeat(32)]
        {
            assert_eq!(text.parse::<Fingerprint>(), Err(FingerprintError), "{text:?}");
        }
        let shifted = format!("{}:", &spaced(TEXT)[..94]);
        assert_eq!(shifted.parse::<Fingerprint>(), Err(FingerprintError));
    }

    proptest! {
        #[test]
        fn every_way_of_writing_it_is_read(bytes: [u8; 32]) {
            let fingerprint = Fingerprint(bytes);
            let text = fingerprint.to_string();
            let spaced = spaced(&text);
            for written in [&text, &text.to_uppercase(), &spaced, &spaced.to_uppercase()] {
                prop_assert_eq!(written.parse(), Ok(fingerprint));
            }
            let json = serde_json::to_string(&fingerprint).unwrap();
            prop_assert_eq!(&json, &format!("{text:?}"));
            prop_assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), fingerprint);
        }
    }

    fn spaced(text: &str) -> String {
        let pairs: Vec<_> =
            text.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap()).collect();
        pairs.join(":")
    }
}
