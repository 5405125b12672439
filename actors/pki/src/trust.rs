use std::path::Path;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;

use crate::error::PkiError;
use crate::fingerprint::Fingerprint;
use crate::pem;

/// How a client knows the server it talks to.
#[derive(Clone, Debug)]
pub enum Trust {
    /// By a chain to one of these certificates, and the name it was called by.
    Authority(Vec<CertificateDer<'static>>),
    /// By its certificate alone: one of these. Neither names nor dates count.
    Pins(Vec<Fingerprint>),
}

impl Trust {
    /// Trusts the certificates in the PEM file `path`; refuses a file without one, or with one that
    /// cannot serve as an authority.
    pub fn from_ca_file(path: impl AsRef<Path>) -> Result<Self, PkiError> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let certificates = pem::certificates(&pem::read(path)?, &origin)?;
        match roots(&certificates) {
            Ok(_) => Ok(Self::Authority(certificates)),
            Err(source) => Err(PkiError::BadCertificate { origin, source }),
        }
    }
}

pub(crate) fn roots(
    certificates: &[CertificateDer<'static>],
) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone())?;
    }
    Ok(roots)
}
