//! When certificates end to be valid.

use rustls_pki_types::CertificateDer;
use x509_parser::parse_x509_certificate;

use crate::identity::Identity;
use crate::trust::Trust;

impl Identity {
    /// Returns when the first certificate of the chain ends to be valid, in seconds since 1970;
    /// `None` when none says so.
    pub fn not_after(&self) -> Option<u64> {
        first_end(self.chain())
    }
}

impl Trust {
    /// Returns when the first of the authorities ends to be valid, in seconds since 1970; `None`
    /// for pins, which have no end.
    pub fn not_after(&self) -> Option<u64> {
        match self {
            Self::Authority(certificates) => first_end(certificates),
            Self::Pins(_) => None,
        }
    }
}

fn first_end(certificates: &[CertificateDer<'_>]) -> Option<u64> {
    certificates.iter().filter_map(|certificate| not_after(certificate)).min()
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    // One that ended before 1970 has ended in any case.
    Some(u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::generate::Authority;
    use crate::pem;

    #[test]
    fn a_chain_ends_with_the_first_of_its_certificates() {
        let authority = Authority::generate("test").unwrap();
        let pair = authority.issue("host", &["localhost".to_owned()]).unwrap();
        let identity =
            Identity::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).unwrap();
        let of_authority = Trust::Authority(
            pem::certificates(authority.certificate_pem().as_bytes(), "x").unwrap(),
        );
        let (leaf, root) = (identity.not_after().unwrap(), of_authority.not_after().unwrap());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(leaf > now && root > now, "{leaf} {root}");

        let both = [
            identity.chain(),
            &pem::certificates(authority.certificate_pem().as_bytes(), "x").unwrap(),
        ]
        .concat();
        assert_eq!(first_end(&both), Some(leaf.min(root)));
        let pins = Trust::Pins(vec![Fingerprint::of(&identity.chain()[0])]);
        assert_eq!((pins.not_after(), first_end(&[])), (None, None));
    }
}
