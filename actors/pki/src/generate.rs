//! New RSA-4096 keys and certificates. A key takes about a second of one core: not for an event
//! loop.

use std::path::Path;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::error::PkiError;
use crate::pem;
use crate::validity::Validity;

/// How long an authority is valid, and what nobody vouches for: nothing renews them by itself.
const LIFETIME: Duration = Duration::days(3650);

/// How long what an authority signs is valid, its beginning in the past included. Clients refuse
/// certificates of servers that are good for more than 825 days.
const SIGNED_LIFETIME: Duration = Duration::days(824);

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
    let mut params = named(common_name, sans, LIFETIME)?;
    as_end_entity(&mut params, Purpose::Both);
    let key = generate_key()?;
    let certificate = params.self_signed(&*key)?;
    Ok(KeyPairPem::new(&certificate, &key))
}

/// What a certificate is good for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    Server,
    Client,
    Both,
}

/// What an authority is asked to sign.
#[derive(Clone, Debug)]
pub struct CertificateRequest<'a> {
    pub common_name: &'a str,
    /// DNS names and addresses, as for [`self_signed`].
    pub names: &'a [String],
    pub purpose: Purpose,
}

/// A certificate authority of our own: for one installation, or for one test.
pub struct Authority {
    /// The first certificate in it is the authority's.
    certificate_pem: String,
    key: Zeroizing<KeyPair>,
    /// Nothing that it signs is good for longer.
    validity: Validity,
}

impl Authority {
    /// Generates the authority's key and certificate; it may sign end entities only.
    pub fn generate(common_name: &str) -> Result<Self, PkiError> {
        let mut params = named(common_name, &[], LIFETIME)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = generate_key()?;
        let certificate = params.self_signed(&*key)?;
        let validity = Validity {
            not_before: params.not_before.unix_timestamp(),
            not_after: params.not_after.unix_timestamp(),
        };
        Ok(Self { certificate_pem: certificate.pem(), key, validity })
    }

    /// Reads the certificate of an authority and its key from PEM files. One that has expired can
    /// be read, and signs nothing.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be used, and a certificate of which `key` is not the key.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, PkiError> {
        let (origin, key_origin) = (certificate.display().to_string(), key.display().to_string());
        let text = pem::read(certificate)?;
        let found = pem::certificates(&text, &origin)?;
        let bad = || PkiError::NoAuthority { origin: origin.clone() };
        let parsed = x509_parser::parse_x509_certificate(&found[0]).map_err(|_| bad())?.1;
        let key_text = pem::read_key(key)?;
        let no_key = || PkiError::NoKey { origin: key_origin.clone() };
        let key_text = std::str::from_utf8(&key_text).map_err(|_| no_key())?;
        let pair = Zeroizing::new(KeyPair::from_pem(key_text).map_err(|_| no_key())?);
        if !parsed.is_ca() {
            return Err(bad());
        }
        if parsed.public_key().subject_public_key.data.as_ref() != pair.public_key_raw() {
            return Err(PkiError::Mismatch { certificate: origin, key: key_origin });
        }
        let validity = Validity::of(&found[0]).ok_or_else(bad)?;
        let certificate_pem = std::str::from_utf8(&text).map_err(|_| bad())?.to_owned();
        Ok(Self { certificate_pem, key: pair, validity })
    }

    pub fn certificate_pem(&self) -> String {
        self.certificate_pem.clone()
    }

    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }

    /// Generates a key and a certificate for it, signed by this authority and good for either end
    /// of a connection; `sans` as in [`self_signed`].
    pub fn issue(&self, common_name: &str, sans: &[String]) -> Result<KeyPairPem, PkiError> {
        self.sign(&CertificateRequest { common_name, names: sans, purpose: Purpose::Both })
    }

    /// Generates a key and signs a certificate for it, which is good for 825 days at most and never
    /// for longer than the authority.
    ///
    /// # Errors
    ///
    /// A name is not ASCII, or the authority has expired.
    pub fn sign(&self, request: &CertificateRequest<'_>) -> Result<KeyPairPem, PkiError> {
        let CertificateRequest { common_name, names, purpose } = request;
        let mut params = named(common_name, names, SIGNED_LIFETIME - BACKDATE)?;
        let end = OffsetDateTime::from_unix_timestamp(self.validity.not_after);
        params.not_after = end.map_or(params.not_after, |end| params.not_after.min(end));
        let now = OffsetDateTime::now_utc().unix_timestamp();
        self.validity.check(now).map_err(|why| {
            let origin = "the file of the authority".to_owned();
            PkiError::Dates { origin, why }
        })?;
        as_end_entity(&mut params, *purpose);
        params.use_authority_key_identifier_extension = true;
        let key = generate_key()?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, &*self.key)?;
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

/// Makes it what an end of a connection presents.
fn as_end_entity(params: &mut CertificateParams, purpose: Purpose) {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match purpose {
        Purpose::Server => vec![ServerAuth],
        Purpose::Client => vec![ClientAuth],
        Purpose::Both => vec![ServerAuth, ClientAuth],
    };
}

fn named(
    common_name: &str,
    sans: &[String],
    lifetime: Duration,
) -> Result<CertificateParams, PkiError> {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::new(sans)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = now - BACKDATE;
    params.not_after = now + lifetime;
    Ok(params)
}
