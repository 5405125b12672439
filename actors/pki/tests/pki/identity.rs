//! What is taken for an identity, and the sentences that say what is not.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use stream_pki::{Fingerprint, Identity, PkiError, Trust};

use crate::keys::{ALICE, AUTHORIZED, BOB};

struct Files {
    _directory: tempfile::TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn holding(certificate: &str, key: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["certificate.pem", "key.pem"].map(|name| directory.path().join(name));
        std::fs::write(&paths[0], certificate).unwrap();
        stream_pki::write_new(&paths[1], key.as_bytes(), 0o600).unwrap();
        let [certificate, key] = paths;
        Self { _directory: directory, certificate, key }
    }

    fn load(&self) -> Result<Identity, PkiError> {
        Identity::load(&self.certificate, &self.key)
    }

    /// The sentence of the refusal, after checking that it names `file`.
    fn refusal(&self, file: &Path) -> String {
        let sentence = self.load().unwrap_err().to_string();
        assert!(sentence.contains(&file.display().to_string()), "{sentence}");
        sentence
    }
}

#[test]
fn an_identity_is_called_by_the_first_name_or_address_of_its_certificate() {
    let name = |pair| crate::keys::identity(pair).first_name();
    assert_eq!(name(&AUTHORIZED.server).as_deref(), Some("server.test"));
    assert_eq!(name(&ALICE).as_deref(), Some("alice.test"));
}

#[test]
fn a_chain_and_its_key_are_read_from_files() {
    let chain = AUTHORIZED.server.certificate.clone() + &AUTHORIZED.authority.certificate_pem();
    let identity = Files::holding(&chain, &AUTHORIZED.server.key).load().unwrap();
    assert_eq!(identity.chain().len(), 2);
    assert_eq!(identity.fingerprint(), Fingerprint::of(&identity.chain()[0]));
    assert!(Identity::from_pem(chain.as_bytes(), AUTHORIZED.server.key.as_bytes()).is_ok());
}

#[test]
fn an_authority_hands_out_its_key() {
    let (certificate, key) =
        (AUTHORIZED.authority.certificate_pem(), AUTHORIZED.authority.key_pem());
    assert!(Identity::from_pem(certificate.as_bytes(), key.as_bytes()).is_ok());
}

#[test]
fn a_key_of_another_certificate_is_refused_naming_both() {
    let files = Files::holding(&ALICE.certificate, &BOB.key);
    assert!(matches!(files.load(), Err(PkiError::Mismatch { .. })));
    files.refusal(&files.certificate);
    files.refusal(&files.key);
}

#[test]
fn a_key_that_is_not_rsa_4096_is_refused() {
    let small = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let curve = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    for key in [small, curve] {
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        let files = Files::holding(&certificate.pem(), &key.serialize_pem());
        let sentence = files.refusal(&files.key);
        assert!(sentence.contains("is not an RSA key of 4096 bits"), "{sentence}");
    }
}

#[test]
fn a_file_with_nothing_of_its_kind_is_named() {
    let no_certificate = Files::holding("", &ALICE.key);
    let sentence = no_certificate.refusal(&no_certificate.certificate);
    assert!(sentence.contains("holds no certificate"), "{sentence}");

    for key in ["", &ALICE.certificate] {
        let no_key = Files::holding(&ALICE.certificate, key);
        let sentence = no_key.refusal(&no_key.key);
        assert!(sentence.contains("holds no private key"), "{sentence}");
    }

    let cut = Files::holding(&ALICE.certificate[..500], &ALICE.key);
    let sentence = cut.refusal(&cut.certificate);
    assert!(sentence.contains("not well-formed PEM"), "{sentence}");

    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let garbage = Files::holding(garbage, &ALICE.key);
    let sentence = garbage.refusal(&garbage.certificate);
    assert!(sentence.contains("certificate that cannot be used"), "{sentence}");
}

#[test]
fn a_missing_file_is_named() {
    let files = Files::holding(&ALICE.certificate, &ALICE.key);
    std::fs::remove_file(&files.key).unwrap();
    let sentence = files.refusal(&files.key);
    assert!(sentence.contains("cannot be read"), "{sentence}");
}

#[test]
fn an_authority_file_without_an_authority_is_named() {
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in ["", garbage] {
        let files = Files::holding(text, "");
        let sentence = Trust::from_ca_file(&files.certificate).unwrap_err().to_string();
        assert!(sentence.contains(&files.certificate.display().to_string()), "{sentence}");
    }
}

#[test]
fn an_identity_shows_its_fingerprint_and_nothing_secret() {
    let identity = Identity::from_pem(ALICE.certificate.as_bytes(), ALICE.key.as_bytes()).unwrap();
    let expected =
        format!("Identity {{ fingerprint: Fingerprint({}), .. }}", identity.fingerprint());
    assert_eq!(format!("{identity:?}"), expected);
}
