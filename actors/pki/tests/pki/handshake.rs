//! Two ends in memory, and who accepts whom.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, HandshakeKind, NamedGroup,
    PeerIncompatible, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection,
};
use stream_pki::{
    ClientCertificates, Fingerprint, KeyPairPem, PkiError, ServerIdentity, Trust, client_config,
    is_pin_mismatch, server_config,
};

use crate::keys::{ALICE, AUTHORIZED, BOB, authority, fingerprint, identity, pinned};

/// Both ends of a finished handshake.
pub(crate) struct Connected {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
}

impl Connected {
    /// The fingerprint of what the server presented.
    pub(crate) fn presented(&self) -> Fingerprint {
        Fingerprint::of(&self.client.peer_certificates().unwrap()[0])
    }
}

/// Which end refused, and why.
#[derive(Debug)]
pub(crate) enum Refused {
    ByClient(Error),
    ByServer(Error),
}

pub(crate) fn connect(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: &str,
) -> Result<Connected, Refused> {
    let name = name.to_owned().try_into().unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    // Once more after both are done: the tickets come last.
    let mut finished = false;
    while !finished {
        finished = !client.is_handshaking() && !server.is_handshaking();
        to_server(&mut client, &mut server)?;
        to_client(&mut server, &mut client)?;
    }
    Ok(Connected { client, server })
}

pub(crate) fn to_server(
    client: &mut ClientConnection,
    server: &mut ServerConnection,
) -> Result<(), Refused> {
    let mut sent = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut sent).unwrap();
    }
    let mut sent = sent.as_slice();
    while !sent.is_empty() {
        server.read_tls(&mut sent).unwrap();
        server.process_new_packets().map_err(Refused::ByServer)?;
    }
    Ok(())
}

pub(crate) fn to_client(
    server: &mut ServerConnection,
    client: &mut ClientConnection,
) -> Result<(), Refused> {
    let mut sent = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut sent).unwrap();
    }
    let mut sent = sent.as_slice();
    while !sent.is_empty() {
        client.read_tls(&mut sent).unwrap();
        client.process_new_packets().map_err(Refused::ByClient)?;
    }
    Ok(())
}

pub(crate) fn client(trust: &Trust, who: Option<&KeyPairPem>) -> Arc<ClientConfig> {
    Arc::new(client_config(trust, who.map(identity).as_ref()).unwrap())
}

pub(crate) fn serving(pair: &KeyPairPem, clients: ClientCertificates) -> Arc<ServerConfig> {
    server_config(&ServerIdentity::new(identity(pair)), clients)
}

/// The certificate of one with the key of another.
fn impostor(certificate: &KeyPairPem, key: &KeyPairPem) -> Arc<SingleCertAndKey> {
    let key = identity(key).certified_key().key.clone();
    Arc::new(CertifiedKey::new(identity(certificate).chain().to_vec(), key).into())
}

#[test]
fn a_pinned_server_is_accepted_under_any_name() {
    let server = serving(&ALICE, ClientCertificates::Ignored);
    let client = client(&pinned(&[&BOB, &ALICE]), None);
    for name in ["alice.test", "elsewhere.test", "192.0.2.9"] {
        let connected = connect(&client, &server, name).unwrap();
        assert_eq!(connected.presented(), fingerprint(&ALICE));
        assert_eq!(connected.client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    }
}

#[test]
fn an_unpinned_server_is_refused_and_the_refusal_recognised() {
    let server = serving(&ALICE, ClientCertificates::Ignored);
    let refused = connect(&client(&pinned(&[&BOB]), None), &server, "alice.test");
    let Err(Refused::ByClient(error)) = refused else { panic!("alice was taken for bob") };
    assert!(is_pin_mismatch(&error), "{error}");
}

#[test]
fn a_pinned_certificate_without_its_key_is_refused() {
    let resolver: Arc<dyn ResolvesServerCert> = impostor(&ALICE, &BOB);
    let mut config = (*serving(&BOB, ClientCertificates::Ignored)).clone();
    config.cert_resolver = resolver;
    let refused = connect(&client(&pinned(&[&ALICE]), None), &Arc::new(config), "alice.test");
    let Err(Refused::ByClient(error)) = refused else { panic!("bob was taken for alice") };
    assert_eq!(error, Error::InvalidCertificate(CertificateError::BadSignature));
    assert!(!is_pin_mismatch(&error));
}

#[test]
fn an_authority_vouches_for_names_and_addresses() {
    let server = serving(&AUTHORIZED.server, ClientCertificates::Ignored);
    let client = client(&authority(&AUTHORIZED.authority.certificate_pem()), None);
    for name in ["server.test", "192.0.2.1", "2001:db8::1"] {
        let connected = connect(&client, &server, name).unwrap();
        assert_eq!(connected.client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    }
    for name in ["elsewhere.test", "192.0.2.2"] {
        let refused = connect(&client, &server, name);
        let Err(Refused::ByClient(error)) = refused else { panic!("taken for {name}") };
        assert!(
            matches!(
                error,
                Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })
            ),
            "{error}"
        );
    }
}

#[test]
fn another_authority_is_refused() {
    let server = serving(&AUTHORIZED.server, ClientCertificates::Ignored);
    let refused = connect(&client(&authority(&BOB.certificate), None), &server, "server.test");
    let Err(Refused::ByClient(error)) = refused else { panic!("bob is no authority of it") };
    assert_eq!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer));
    assert!(!is_pin_mismatch(&error));
}

#[test]
fn trust_in_nobody_is_refused_before_any_connection() {
    for nobody in [Trust::Pins(Vec::new()), Trust::Authority(Vec::new())] {
        assert!(matches!(client_config(&nobody, None), Err(PkiError::NoTrust)), "{nobody:?}");
    }
}

#[test]
fn a_self_signed_client_is_accepted_and_seen() {
    let server = serving(&ALICE, ClientCertificates::AnyOrNone);
    let trust = pinned(&[&ALICE]);
    let connected = connect(&client(&trust, Some(&BOB)), &server, "alice.test").unwrap();
    let seen = connected.server.peer_certificates().unwrap();
    assert_eq!(Fingerprint::of(&seen[0]), fingerprint(&BOB));

    let connected = connect(&client(&trust, None), &server, "alice.test").unwrap();
    assert_eq!(connected.server.peer_certificates(), None);
}

#[test]
fn a_client_certificate_without_its_key_is_refused() {
    let server = serving(&ALICE, ClientCertificates::AnyOrNone);
    let mut config = client_config(&pinned(&[&ALICE]), None).unwrap();
    config.client_auth_cert_resolver = impostor(&BOB, &ALICE);
    let refused = connect(&Arc::new(config), &server, "alice.test");
    let Err(Refused::ByServer(error)) = refused else { panic!("alice was taken for bob") };
    assert_eq!(error, Error::InvalidCertificate(CertificateError::BadSignature));
}

#[test]
fn a_server_that_ignores_clients_asks_for_no_certificate() {
    let server = serving(&ALICE, ClientCertificates::Ignored);
    let client = client(&pinned(&[&ALICE]), Some(&BOB));
    let connected = connect(&client, &server, "alice.test").unwrap();
    assert_eq!(connected.server.peer_certificates(), None);
}

#[test]
fn a_returning_client_resumes_and_is_still_seen() {
    let server = serving(&ALICE, ClientCertificates::AnyOrNone);
    let client = client(&pinned(&[&ALICE]), Some(&BOB));
    let first = connect(&client, &server, "alice.test").unwrap();
    assert_eq!(first.server.handshake_kind(), Some(HandshakeKind::Full));
    let second = connect(&client, &server, "alice.test").unwrap();
    assert_eq!(second.server.handshake_kind(), Some(HandshakeKind::Resumed));
    let seen = second.server.peer_certificates().unwrap();
    assert_eq!(Fingerprint::of(&seen[0]), fingerprint(&BOB));
}

#[test]
fn a_tls_1_2_client_is_refused() {
    let config = serving(&ALICE, ClientCertificates::AnyOrNone);
    let mut server = ServerConnection::new(config).unwrap();
    server.read_tls(&mut &*TLS_1_2_HELLO).unwrap();
    let error = server.process_new_packets().unwrap_err();
    assert_eq!(
        error,
        Error::PeerIncompatible(PeerIncompatible::SupportedVersionsExtensionRequired)
    );
}

/// A hello that names version 1.2, one cipher suite, and a group and a signature scheme to go with
/// it, but no newer version.
#[rustfmt::skip]
const TLS_1_2_HELLO: &[u8] = &[
    0x16, 0x03, 0x01, 0x00, 0x3f, // record: handshake, 63 bytes
    0x01, 0x00, 0x00, 0x3b, 0x03, 0x03, // client hello, 59 bytes, TLS 1.2
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    0x00, // no session
    0x00, 0x02, 0xc0, 0x2f, // ECDHE-RSA with AES-128-GCM and SHA-256
    0x01, 0x00, // no compression
    0x00, 0x10, // 16 bytes of extensions
    0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x1d, // groups: X25519
    0x00, 0x0d, 0x00, 0x04, 0x00, 0x02, 0x08, 0x04, // signatures: RSA-PSS with SHA-256
];

#[test]
fn keys_are_exchanged_so_that_no_quantum_computer_reads_them_later() {
    let server = serving(&AUTHORIZED.server, ClientCertificates::Ignored);
    let group = |client: &Arc<ClientConfig>| {
        let connected = connect(client, &server, "server.test").unwrap();
        connected.server.negotiated_key_exchange_group().map(|group| group.name())
    };
    let certificate = AUTHORIZED.authority.certificate_pem();
    assert_eq!(group(&client(&authority(&certificate), None)), Some(NamedGroup::X25519MLKEM768));

    // One that knows no other is served.
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let provider = CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() };
    let older = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    assert_eq!(group(&Arc::new(older)), Some(NamedGroup::X25519));
}
