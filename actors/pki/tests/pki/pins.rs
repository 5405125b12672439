//! A wrong pin is recognised however deep it is wrapped.

use std::error::Error as StdError;
use std::sync::Arc;
use std::{fmt, io};

use rustls::{CertificateError, Error, OtherError};
use stream_pki::{Fingerprint, PinMismatch, is_pin_mismatch};

fn mismatch() -> Error {
    let mismatch = PinMismatch { presented: Fingerprint([0xab; 32]) };
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(mismatch))))
}

#[derive(Debug)]
struct Wrapped(Box<dyn StdError + Send + Sync>);

impl fmt::Display for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connecting failed")
    }
}

impl StdError for Wrapped {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}

#[test]
fn a_pin_mismatch_is_found_at_any_depth() {
    let in_io = || io::Error::new(io::ErrorKind::InvalidData, mismatch());
    assert!(is_pin_mismatch(&mismatch()));
    assert!(is_pin_mismatch(&in_io()));
    assert!(is_pin_mismatch(&Wrapped(Box::new(mismatch()))));
    assert!(is_pin_mismatch(&Wrapped(Box::new(io::Error::other(Wrapped(Box::new(in_io())))))));
}

#[test]
fn other_failures_are_not_taken_for_one() {
    assert!(!is_pin_mismatch(&Error::InvalidCertificate(CertificateError::Expired)));
    assert!(!is_pin_mismatch(&io::Error::from(io::ErrorKind::ConnectionRefused)));
    let other = OtherError(Arc::new(io::Error::other("unrelated")));
    let other = Error::InvalidCertificate(CertificateError::Other(other));
    assert!(!is_pin_mismatch(&Wrapped(Box::new(io::Error::other(other)))));
}

#[test]
fn it_says_what_the_server_presented() {
    let mismatch = PinMismatch { presented: Fingerprint([0xab; 32]) };
    let sentence = mismatch.to_string();
    assert!(sentence.starts_with("server certificate is not the pinned one"), "{sentence}");
    assert!(sentence.ends_with(&"ab".repeat(32)), "{sentence}");
}
