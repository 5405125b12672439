//! What is written in a certificate, for people.

use std::net::IpAddr;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::error::PkiError;
use crate::fingerprint::Fingerprint;
use crate::generate::Purpose;
use crate::pem;
use crate::validity::Validity;

/// A certificate as an operator sees it, whether or not it is good.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateInfo {
    pub subject: String,
    pub issuer: String,
    /// DNS names and addresses, as text.
    pub names: Vec<String>,
    pub fingerprint: Fingerprint,
    pub validity: Validity,
    /// Whether it may sign others.
    pub is_authority: bool,
    pub purpose: Purpose,
}

impl CertificateInfo {
    /// Reads `certificate`; `None` for what is none.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = parse_x509_certificate(certificate).ok()?;
        Some(Self {
            subject: common_name(parsed.subject()),
            issuer: common_name(parsed.issuer()),
            names: names(&parsed),
            fingerprint: Fingerprint::of(certificate),
            validity: Validity::of(certificate)?,
            is_authority: parsed.is_ca(),
            purpose: purpose(&parsed),
        })
    }

    /// Reads all certificates of a PEM file, expired or not.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds none.
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<Self>, PkiError> {
        let (path, origin) = (path.as_ref(), path.as_ref().display().to_string());
        let certificates = pem::certificates(&pem::read(path)?, &origin)?;
        Ok(certificates.iter().filter_map(Self::of).collect())
    }
}

/// Returns the common name alone; the whole name where there is none.
fn common_name(name: &x509_parser::x509::X509Name<'_>) -> String {
    let common = name.iter_common_name().next().and_then(|name| name.as_str().ok());
    let text = common.map_or_else(|| name.to_string(), str::to_owned);
    text.chars().filter(|c| !c.is_control()).collect()
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.chars().filter(|c| !c.is_control()).collect()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

/// Reads an address as certificates hold it.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// One that says nothing is good for both.
fn purpose(certificate: &X509Certificate<'_>) -> Purpose {
    match certificate.extended_key_usage() {
        Ok(Some(usage)) if usage.value.server_auth && !usage.value.client_auth => Purpose::Server,
        Ok(Some(usage)) if usage.value.client_auth && !usage.value.server_auth => Purpose::Client,
        _ => Purpose::Both,
    }
}
