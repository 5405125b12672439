//! How long and for what a generated certificate is good.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::UnixTime;
use stream_pki::{KeyPairPem, Trust, self_signed};

use crate::keys::{ALICE, AUTHORIZED, authority, identity, names};

const DAY: Duration = Duration::from_secs(86_400);

fn roots(pem: &str) -> Arc<RootCertStore> {
    let Trust::Authority(certificates) = authority(pem) else { panic!("not an authority") };
    let mut roots = RootCertStore::empty();
    certificates.into_iter().for_each(|certificate| roots.add(certificate).unwrap());
    Arc::new(roots)
}

fn verify(pair: &KeyPairPem, root: &str, name: &str, at: SystemTime) -> Result<(), Error> {
    let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
    WebPkiServerVerifier::builder_with_provider(roots(root), Arc::new(default_provider()))
        .build()
        .unwrap()
        .verify_server_cert(&identity(pair).chain()[0], &[], &name.try_into().unwrap(), &[], at)
        .map(|_| ())
}

#[test]
fn validity_starts_a_day_back_and_lasts_ten_years() {
    let now = SystemTime::now();
    let ca = AUTHORIZED.authority.certificate_pem();
    for (pair, root, name) in
        [(&AUTHORIZED.server, &ca, "server.test"), (&*ALICE, &ALICE.certificate, "alice.test")]
    {
        for at in [now - DAY / 2, now, now + DAY * 3640] {
            verify(pair, root, name, at).unwrap();
        }
        let early = verify(pair, root, name, now - DAY * 2).unwrap_err();
        assert!(
            matches!(early, Error::InvalidCertificate(CertificateError::NotValidYetContext { .. })),
            "{early}"
        );
        let late = verify(pair, root, name, now + DAY * 3651).unwrap_err();
        assert!(
            matches!(late, Error::InvalidCertificate(CertificateError::ExpiredContext { .. })),
            "{late}"
        );
    }
}

#[test]
fn an_issued_certificate_is_good_for_a_client_too() {
    let root = roots(&AUTHORIZED.authority.certificate_pem());
    WebPkiClientVerifier::builder_with_provider(root, Arc::new(default_provider()))
        .build()
        .unwrap()
        .verify_client_cert(&identity(&AUTHORIZED.server).chain()[0], &[], UnixTime::now())
        .unwrap();
}

#[test]
fn a_name_that_is_not_ascii_is_refused() {
    assert!(self_signed("x", &names(&["é.test"])).is_err());
}
