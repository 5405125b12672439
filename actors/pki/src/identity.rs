//! Who we are in a handshake: a certificate chain and the key that belongs to it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ring::signature::RsaKeyPair;
use rustls::Error::InconsistentKeys;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificate_info::CertificateInfo;
use crate::error::PkiError;
use crate::fingerprint::Fingerprint;
use crate::validity::Validity;
use crate::{pem, provider};

const RSA_4096_BYTES: usize = 512;

/// A certificate chain and its RSA-4096 key, checked to belong together.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
}

impl Identity {
    /// Reads a certificate chain, end entity first, and its key from PEM files.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be read or holds nothing of its kind, a key that is open to
    /// others or not RSA-4096, or a key of another certificate.
    pub fn load(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, PkiError> {
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        // Both are read before either is judged, so that a swap of the files has the least time to
        // come between.
        let (certificate_pem, key_pem) = (pem::read(certificate)?, pem::read_key(key)?);
        Self::parse(
            (&certificate_pem, &certificate.display().to_string()),
            (&key_pem, &key.display().to_string()),
        )
    }

    /// Takes a certificate chain, end entity first, and its key from PEM; refuses as
    /// [`Identity::load`] does.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, PkiError> {
        Self::parse((certificate, "the certificate"), (key, "the private key"))
    }

    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// Returns the first name that the certificate is for: of a host, or an address as text; `None`
    /// when it names neither.
    pub fn first_name(&self) -> Option<String> {
        CertificateInfo::of(self.chain().first()?)?.names.into_iter().next()
    }

    /// Tells whether the certificate is good at `now`, in seconds of UNIX. One that is not can be
    /// presented all the same: whoever pins it looks at no dates.
    ///
    /// # Errors
    ///
    /// [`PkiError::Dates`] when it has expired or is not valid yet; `certificate` is the file it
    /// comes from.
    pub fn check_dates(&self, certificate: &Path, now: i64) -> Result<(), PkiError> {
        let validity = self.chain().first().and_then(Validity::of);
        let checked = validity.map_or(Ok(()), |validity| validity.check(now));
        checked.map_err(|why| PkiError::Dates { origin: certificate.display().to_string(), why })
    }

    /// The fingerprint of the end entity: what a peer pins.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn parse(
        (certificate, certificate_origin): (&[u8], &str),
        (key, key_origin): (&[u8], &str),
    ) -> Result<Self, PkiError> {
        let chain = pem::certificates(certificate, certificate_origin)?;
        let key = pem::key(key, key_origin)?;
        let not_rsa_4096 = || PkiError::NotRsa4096 { origin: key_origin.to_owned() };
        if !is_rsa_4096(&key) {
            return Err(not_rsa_4096());
        }
        let key = provider().key_provider.load_private_key(key).map_err(|_| not_rsa_4096())?;

        let fingerprint = Fingerprint::of(&chain[0]);
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(Self { certified: Arc::new(certified), fingerprint }),
            Err(InconsistentKeys(_)) => Err(PkiError::Mismatch {
                certificate: certificate_origin.to_owned(),
                key: key_origin.to_owned(),
            }),
            Err(source) => {
                Err(PkiError::BadCertificate { origin: certificate_origin.to_owned(), source })
            }
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

fn is_rsa_4096(key: &PrivateKeyDer<'_>) -> bool {
    let parsed = match key {
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
        _ => return false,
    };
    parsed.is_ok_and(|key| key.public().modulus_len() == RSA_4096_BYTES)
}
