use std::path::Path;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;

use crate::error::PkiError;
use crate::fingerprint::Fingerprint;
use crate::pem;
use crate::validity::Validity;

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

    /// Tells whether one of the authorities is good at `now`, in seconds of UNIX: while an old one
    /// is replaced there are two. `ca` is the file they come from. Of pins no dates are known.
    ///
    /// # Errors
    ///
    /// [`PkiError::Dates`] when all have expired or are not valid yet.
    pub fn check_dates(&self, ca: &Path, now: i64) -> Result<(), PkiError> {
        let Self::Authority(certificates) = self else { return Ok(()) };
        let checks = certificates.iter().filter_map(Validity::of).map(|dates| dates.check(now));
        match checks.reduce(Result::or) {
            Some(Err(why)) => Err(PkiError::Dates { origin: ca.display().to_string(), why }),
            _ => Ok(()),
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
