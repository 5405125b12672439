//! New RSA-4096 keys and certificates. A key takes about a second of one core: not for an event
//! loop.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::error::PkiError;

/// How long what we generate is valid: nothing renews a pinned certificate by itself.
const LIFETIME: Duration = Duration::days(3650);

/// How far back validity starts, for peers whose clock is behind ours.
const BACKDATE: Duration = Duration::days(1);

/// A certificate and its private key as PEM.
#[derive(Clone)]
pub struct KeyPairPem {
    pub certificate: String,
    pub key: Zeroizing<String>,
}

/// Generates a key and a certificate for `common_name` that nobody else vouches for; good for
/// either end of a connection.
///
/// Each of `sans` that parses as an IP address becomes one, the others become DNS names; refuses
/// those that are not ASCII.
pub fn self_signed(common_name: &str, sans: &[String]) -> Result<KeyPairPem, PkiError> {
    let params = end_entity(common_name, sans)?;
    let key = generate_key()?;
    let certificate = params.self_signed(&*key)?;
    Ok(KeyPairPem::new(&certificate, &key))
}

/// A certificate authority of our own: for one installation, or for one test.
pub struct Authority {
    params: CertificateParams,
    certificate: Certificate,
    key: Zeroizing<KeyPair>,
}

impl Authority {
    /// Generates the authority's key and certificate; it may sign end entities only.
    pub fn generate(common_name: &str) -> Result<Self, PkiError> {
        let mut params = named(common_name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = generate_key()?;
        let certificate = params.self_signed(&*key)?;
        Ok(Self { params, certificate, key })
    }

    pub fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }

    /// Generates a key and a certificate for it, signed by this authority; `sans` as in
    /// [`self_signed`].
    pub fn issue(&self, common_name: &str, sans: &[String]) -> Result<KeyPairPem, PkiError> {
        let mut params = end_entity(common_name, sans)?;
        params.use_authority_key_identifier_extension = true;
        let key = generate_key()?;
        let issuer = Issuer::from_params(&self.params, &*self.key);
        let certificate = params.signed_by(&*key, &issuer)?;
        Ok(KeyPairPem::new(&certificate, &key))
    }
}

impl KeyPairPem {
    fn new(certificate: &Certificate, key: &KeyPair) -> Self {
        Self { certificate: certificate.pem(), key: Zeroizing::new(key.serialize_pem()) }
    }
}

fn generate_key() -> Result<Zeroizing<KeyPair>, PkiError> {
    Ok(Zeroizing::new(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096)?))
}

/// What either end of a connection presents.
fn end_entity(common_name: &str, sans: &[String]) -> Result<CertificateParams, PkiError> {
    let mut params = named(common_name, sans)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn named(common_name: &str, sans: &[String]) -> Result<CertificateParams, PkiError> {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::new(sans)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = now - BACKDATE;
    params.not_after = now + LIFETIME;
    Ok(params)
}
