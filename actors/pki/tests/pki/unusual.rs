//! Certificates that no authority would issue today, and that are pinned all the same: of X.509
//! version 1, or with a critical extension that nobody knows.

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, Error, ServerConfig};
use rustls_pki_types::CertificateDer;
use stream_pki::{ClientCertificates, Fingerprint, Trust, client_config};

use crate::handshake::{Refused, client, connect, serving};
use crate::keys::{ALICE, BOB, identity, pinned};

/// The elements of a DER sequence, head included, without the head of the sequence itself.
fn elements(der: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut all) = (content(der), Vec::new());
    while !rest.is_empty() {
        let length = rest.len() - after(rest).len();
        all.push(&rest[..length]);
        rest = &rest[length..];
    }
    all
}

/// Where the content begins, and how long it is.
fn head(der: &[u8]) -> (usize, usize) {
    match der[1] {
        short @ 0..0x80 => (2, usize::from(short)),
        long => {
            let count = usize::from(long & 0x7f);
            let length =
                der[2..2 + count].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (2 + count, length)
        }
    }
}

fn content(der: &[u8]) -> &[u8] {
    let (start, length) = head(der);
    &der[start..start + length]
}

fn after(der: &[u8]) -> &[u8] {
    let (start, length) = head(der);
    &der[start + length..]
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[0x30, 0x82], &length[..], &content].concat()
}

/// The certificate of alice as version 1 has it: neither a version nor extensions. What signs it
/// is as it was, and does not fit: whoever pins does not look.
fn version_1() -> CertificateDer<'static> {
    let certificate = identity(&ALICE).chain()[0].to_vec();
    let [tbs, algorithm, signature] = elements(&certificate)[..] else { panic!("three parts") };
    let kept: Vec<_> =
        elements(tbs).into_iter().filter(|part| !matches!(part[0], 0xa0 | 0xa3)).collect();
    sequence(&[&sequence(&kept), algorithm, signature]).into()
}

/// A certificate of alice with a critical extension of somebody's own.
fn extended() -> CertificateDer<'static> {
    let mut extension =
        CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
    extension.set_criticality(true);
    let mut params = CertificateParams::new(vec!["alice.test".to_owned()]).unwrap();
    params.custom_extensions = vec![extension];
    params.self_signed(&KeyPair::from_pem(&ALICE.key).unwrap()).unwrap().der().clone()
}

fn presented(certificate: &CertificateDer<'static>, owner: bool) -> Arc<SingleCertAndKey> {
    let pair = if owner { &*ALICE } else { &*BOB };
    let key = identity(pair).certified_key().key.clone();
    Arc::new(CertifiedKey::new(vec![certificate.clone()], key).into())
}

fn server(certificate: &CertificateDer<'static>, owner: bool) -> Arc<ServerConfig> {
    let resolver: Arc<dyn ResolvesServerCert> = presented(certificate, owner);
    let mut config = (*serving(&BOB, ClientCertificates::Ignored)).clone();
    config.cert_resolver = resolver;
    Arc::new(config)
}

#[test]
fn a_pinned_server_certificate_is_accepted_whatever_it_says_and_never_without_its_key() {
    for certificate in [version_1(), extended()] {
        let trust = Trust::Pins(vec![Fingerprint::of(&certificate)]);
        let connected = connect(&client(&trust, None), &server(&certificate, true), "any.test");
        assert_eq!(connected.unwrap().presented(), Fingerprint::of(&certificate));
        let refused = connect(&client(&trust, None), &server(&certificate, false), "any.test");
        let Err(Refused::ByClient(error)) = refused else { panic!("bob was taken for alice") };
        assert_eq!(error, Error::InvalidCertificate(CertificateError::BadSignature));
    }
}

#[test]
fn a_client_is_known_by_such_a_certificate_too() {
    for certificate in [version_1(), extended()] {
        let mut config = client_config(&pinned(&[&ALICE]), None).unwrap();
        config.client_auth_cert_resolver = presented(&certificate, true);
        let server = serving(&ALICE, ClientCertificates::AnyOrNone);
        let connected = connect(&Arc::new(config), &server, "alice.test").unwrap();
        let seen = connected.server.peer_certificates().unwrap();
        assert_eq!(Fingerprint::of(&seen[0]), Fingerprint::of(&certificate));
    }
}
