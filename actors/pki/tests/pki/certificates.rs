//! How long and for what a generated certificate is good.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::UnixTime;
use stream_pki::{
    Authority, CertificateInfo, CertificateRequest, KeyPairPem, PkiError, Purpose, Trust, Validity,
    self_signed, write_new,
};

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
fn validity_starts_a_day_back_and_lasts_ten_years_and_825_days_for_what_is_signed() {
    let now = SystemTime::now();
    let ca = AUTHORIZED.authority.certificate_pem();
    for (pair, root, name, days) in [
        (&AUTHORIZED.server, &ca, "server.test", 823),
        (&*ALICE, &ALICE.certificate, "alice.test", 3650),
    ] {
        for at in [now - DAY / 2, now, now + DAY * (days - 1)] {
            verify(pair, root, name, at).unwrap();
        }
        let early = verify(pair, root, name, now - DAY * 2).unwrap_err();
        assert!(
            matches!(early, Error::InvalidCertificate(CertificateError::NotValidYetContext { .. })),
            "{early}"
        );
        let late = verify(pair, root, name, now + DAY * (days + 1)).unwrap_err();
        assert!(
            matches!(late, Error::InvalidCertificate(CertificateError::ExpiredContext { .. })),
            "{late}"
        );
        let chain = identity(pair);
        let validity = Validity::of(&chain.chain()[0]).unwrap();
        let whole = validity.not_after - validity.not_before;
        assert!(days == 3650 || whole < 825 * 86_400, "{whole}");
    }
}

/// Runs openssl on files in `dir`, and returns what it says.
fn openssl(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).current_dir(dir).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    said
}

#[test]
fn openssl_accepts_what_an_authority_signs_for_its_purpose_and_its_names_alone() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    write("ca.crt", &AUTHORIZED.authority.certificate_pem());
    let names = names(&["gw.test", "192.0.2.7"]);
    for (purpose, accepted, refused) in
        [(Purpose::Server, "sslserver", "sslclient"), (Purpose::Client, "sslclient", "sslserver")]
    {
        let request = CertificateRequest { common_name: "gw", names: &names, purpose };
        let pair = AUTHORIZED.authority.sign(&request).unwrap();
        write("leaf.crt", &pair.certificate);
        let verify = ["verify", "-x509_strict", "-CAfile", "ca.crt", "-purpose"];
        let named = ["-verify_hostname", "gw.test", "leaf.crt"];
        let said = openssl(dir, &[&verify[..], &[accepted], &named].concat());
        assert!(said.contains("leaf.crt: OK"), "{said}");
        let by_address = ["-verify_ip", "192.0.2.7", "leaf.crt"];
        openssl(dir, &[&verify[..], &[accepted], &by_address].concat());
        let arguments = [&verify[..], &[refused, "leaf.crt"]].concat();
        let other = Command::new("openssl").args(&arguments).current_dir(dir).output().unwrap();
        assert!(!other.status.success(), "{other:?}");
        let info = CertificateInfo::read(dir.join("leaf.crt")).unwrap().remove(0);
        assert_eq!((info.subject.as_str(), info.purpose, &info.names), ("gw", purpose, &names));
        assert_eq!(info.issuer, "test authority");
    }
}

#[test]
fn an_authority_that_is_read_again_signs_on_and_a_foreign_key_or_a_leaf_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let put = |name: &str, text: &str| write_new(file(name), text.as_bytes(), 0o600).unwrap();
    put("ca.crt", &AUTHORIZED.authority.certificate_pem());
    put("ca.key", &AUTHORIZED.authority.key_pem());
    put("leaf.crt", &AUTHORIZED.server.certificate);
    put("leaf.key", &AUTHORIZED.server.key);
    let authority = Authority::load(&file("ca.crt"), &file("ca.key")).unwrap();
    let pair = authority.issue("again", &names(&["again.test"])).unwrap();
    let ca = AUTHORIZED.authority.certificate_pem();
    verify(&pair, &ca, "again.test", SystemTime::now()).unwrap();
    let load = |certificate, key| Authority::load(&file(certificate), &file(key)).err().unwrap();
    assert!(matches!(load("leaf.crt", "leaf.key"), PkiError::NoAuthority { .. }));
    assert!(matches!(load("ca.crt", "leaf.key"), PkiError::Mismatch { .. }));
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
