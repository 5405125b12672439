//! Trust in certificates by their fingerprint: no names, no dates, no authorities.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, Error, OtherError, PeerIncompatible};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use subtle::{Choice, ConstantTimeEq};

use crate::fingerprint::Fingerprint;
use crate::signatures::tls13_signatures;

/// The server proved to be somebody, but nobody we pinned.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("server certificate is not the pinned one: its fingerprint is {presented}")]
pub struct PinMismatch {
    pub presented: Fingerprint,
}

/// Says whether `error`, or anything that caused it, is a [`PinMismatch`].
pub fn is_pin_mismatch(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<PinMismatch>() || rustls_cause(error).is_some_and(is_pin_mismatch) {
            return true;
        }
        // What an I/O error wraps is not its source: the source is what lies under that.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    false
}

/// Accepts a server by its end-entity certificate alone, once it has proven to hold the key.
#[derive(Debug)]
pub(crate) struct PinVerifier {
    pins: Vec<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl PinVerifier {
    pub(crate) fn new(pins: Vec<Fingerprint>, provider: Arc<CryptoProvider>) -> Self {
        Self { pins, provider }
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = Fingerprint::of(end_entity);
        let known =
            self.pins.iter().fold(Choice::from(0), |known, pin| known | pin.0.ct_eq(&presented.0));
        if known.into() {
            return Ok(ServerCertVerified::assertion());
        }
        let mismatch = OtherError(Arc::new(PinMismatch { presented }));
        Err(Error::InvalidCertificate(CertificateError::Other(mismatch)))
    }

    tls13_signatures!(PeerIncompatible::ServerDoesNotSupportTls12Or13);
}

/// What a verifier of ours put into `error`; rustls does not show it as a source.
fn rustls_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<Error>()? {
        Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) => Some(&**cause),
        _ => None,
    }
}
