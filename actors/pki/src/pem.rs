//! PEM files; an error names the file it is about.

use std::path::Path;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::error::PkiError;
use crate::files::read_limited;

/// Enough for a bundle of public authorities.
const MAX_FILE_BYTES: usize = 1 << 20;

/// Reads the file `path`, refusing more than a mebibyte.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    read_limited(path, MAX_FILE_BYTES)
        .map_err(|source| PkiError::Unreadable { origin: path.display().to_string(), source })
}

/// Returns the certificates in `text`, at least one.
pub(crate) fn certificates(
    text: &[u8],
    origin: &str,
) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|source| PkiError::Malformed { origin: origin.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(PkiError::NoCertificate { origin: origin.to_owned() });
    }
    Ok(certificates)
}

/// Returns the first private key in `text`.
pub(crate) fn key(text: &[u8], origin: &str) -> Result<PrivateKeyDer<'static>, PkiError> {
    let origin = origin.to_owned();
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => PkiError::NoKey { origin },
        source => PkiError::Malformed { origin, source },
    })
}
