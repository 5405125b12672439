//! What the fuzz targets reach of this crate, and no part of its interface. Every function takes
//! any bytes, and panics when a promise is broken.

use crate::error::PkiError;
use crate::fingerprint::Fingerprint;
use crate::validity::Validity;
use crate::{CertificateInfo, pem};

/// A PEM file: no certificate that begins a line is left out, glued to another file or with the
/// ends of lines of another system it holds the same, and a fault is told in one line with its
/// place.
pub fn pem(bytes: &[u8]) {
    let read = |bytes: &[u8]| pem::certificates(bytes, "FILE");
    match read(bytes) {
        Ok(certificates) => {
            let text = String::from_utf8_lossy(bytes);
            let begins = |line: &&str| line.trim().starts_with("-----BEGIN CERTIFICATE-----");
            let begun = text.split(['\n', '\r']).filter(begins).count();
            assert!(certificates.len() >= begun.max(1));
            let twice = [bytes, b"\n", bytes].concat();
            assert_eq!(read(&twice).ok(), Some([&certificates[..], &certificates].concat()));
            let elsewhere = text.replace('\n', "\r\n");
            assert_eq!(read(elsewhere.as_bytes()).ok().as_ref(), Some(&certificates));
            for info in certificates.iter().filter_map(CertificateInfo::of) {
                let Validity { not_before, not_after } = info.validity;
                assert_eq!(info.validity.check(0).is_ok(), (not_before..=not_after).contains(&0));
            }
        }
        Err(error) => is_told(&error, bytes),
    }
    if let Err(error) = pem::key(bytes, "FILE") {
        is_told(&error, bytes);
    }
}

/// A pin: however it is written, it is read again from how we write it.
pub fn fingerprint(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(fingerprint) = text.parse::<Fingerprint>() else { return };
    assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    assert_eq!(fingerprint.to_string(), text.to_ascii_lowercase().replace(':', ""));
}

fn is_told(error: &PkiError, bytes: &[u8]) {
    let text = error.to_string();
    assert!(text.starts_with("FILE") && !text.contains(char::is_control), "{text:?}");
    if let PkiError::Malformed { line, .. } = error {
        let ends = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
        assert!((1..=ends + 1).contains(line), "{text}");
    }
}
