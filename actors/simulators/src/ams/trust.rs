//! The [trust store]: which client certificates AMS obeys.
//!
//! [trust store]: stream_protocol::manual::wire#trust-store

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use serde::Serialize;
use stream_pki::Fingerprint;

use super::error::ApiError;

/// A trusted certificate as AMS lists it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Certificate {
    /// Base64 of the DER; empty when only the fingerprint was ever given.
    certificate: String,
    pub(crate) fingerprint: String,
}

pub(crate) struct Trust {
    /// By fingerprint, in lower-case hex.
    certificates: BTreeMap<String, Certificate>,
}

impl Trust {
    pub(crate) fn new(trusted: &[Fingerprint]) -> Self {
        let mut trust = Self { certificates: BTreeMap::new() };
        for client in trusted {
            trust.insert(*client);
        }
        trust
    }

    pub(crate) fn contains(&self, client: &Fingerprint) -> bool {
        self.certificates.contains_key(&client.to_string())
    }

    /// Trusts a certificate of which only the fingerprint is known.
    pub(crate) fn insert(&mut self, client: Fingerprint) {
        let fingerprint = client.to_string();
        let certificate = Certificate { certificate: String::new(), fingerprint };
        self.certificates.entry(client.to_string()).or_insert(certificate);
    }

    /// Adds a certificate, given as base64 of its DER, and returns its fingerprint. Refuses what
    /// is no certificate and one that is there already.
    pub(crate) fn add(&mut self, certificate: String) -> Result<String, ApiError> {
        let der = STANDARD.decode(&certificate).map_err(|_| ApiError::Invalid("certificate"))?;
        let der = CertificateDer::from(der);
        ParsedCertificate::try_from(&der).map_err(|_| ApiError::Invalid("certificate"))?;
        let fingerprint = Fingerprint::of(&der).to_string();
        if self.certificates.contains_key(&fingerprint) {
            return Err(ApiError::Exists("certificate"));
        }
        let entry = Certificate { certificate, fingerprint: fingerprint.clone() };
        self.certificates.insert(fingerprint.clone(), entry);
        Ok(fingerprint)
    }

    pub(crate) fn get(&self, fingerprint: &str) -> Result<&Certificate, ApiError> {
        self.certificates.get(fingerprint).ok_or(ApiError::NotFound("certificate"))
    }

    pub(crate) fn remove(&mut self, fingerprint: &str) -> Result<(), ApiError> {
        let removed = self.certificates.remove(fingerprint);
        removed.map(drop).ok_or(ApiError::NotFound("certificate"))
    }

    pub(crate) fn all(&self) -> Vec<Certificate> {
        self.certificates.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_not_trusted() {
        let mut trust = Trust::new(&[]);
        for text in ["", "not base64!", "aGVsbG8="] {
            assert_eq!(trust.add(text.to_owned()), Err(ApiError::Invalid("certificate")));
        }
        assert!(trust.all().is_empty());
    }

    #[test]
    fn a_known_fingerprint_is_trusted_until_it_is_removed() {
        let client: Fingerprint = "ab".repeat(32).parse().expect("a fingerprint");
        let mut trust = Trust::new(&[client]);
        assert!(trust.contains(&client));
        assert_eq!(trust.remove(&client.to_string()), Ok(()));
        assert!(!trust.contains(&client));
        assert_eq!(trust.remove(&client.to_string()), Err(ApiError::NotFound("certificate")));
    }
}
