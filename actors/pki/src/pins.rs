//! Trust in certificates by their fingerprint: no names, no dates, no authorities.

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
