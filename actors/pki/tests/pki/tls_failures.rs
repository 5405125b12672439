//! What an operator is told of a handshake that failed.

use std::io;
use std::sync::Arc;

use rcgen::{CertificateParams, Issuer, KeyPair, PKCS_RSA_SHA256};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, Error, ServerConfig};
use stream_pki::{
    ClientCertificates, Fingerprint, ReloadableClient, TlsFailure, Trust, client_config,
};
use time::{Duration, OffsetDateTime};

use crate::handshake::{Refused, client, connect, serving};
use crate::keys::{ALICE, AUTHORIZED, BOB, authority, identity, names, pinned};

fn trust() -> Trust {
    authority(&AUTHORIZED.authority.certificate_pem())
}

fn failure(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, name: &str) -> TlsFailure {
    let error = match connect(client, server, name) {
        Err(Refused::ByClient(error)) => error,
        Err(Refused::ByServer(error)) => panic!("the server: {error}"),
        Ok(_) => panic!("accepted"),
    };
    TlsFailure::find(&io::Error::other(error)).expect("one of TLS")
}

/// A server with the key of the authorized one, and a certificate that is good between these days
/// from now.
fn dated(days: std::ops::Range<i64>) -> Arc<ServerConfig> {
    let key = KeyPair::from_pem(&AUTHORIZED.server.key).unwrap();
    let authority = KeyPair::from_pem(&AUTHORIZED.authority.key_pem()).unwrap();
    assert_eq!(authority.algorithm(), &PKCS_RSA_SHA256);
    let issuer =
        Issuer::from_ca_cert_pem(&AUTHORIZED.authority.certificate_pem(), &authority).unwrap();
    let mut params = CertificateParams::new(names(&["server.test"])).unwrap();
    params.not_before = OffsetDateTime::now_utc() + Duration::days(days.start);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(days.end);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let key = identity(&AUTHORIZED.server).certified_key().key.clone();
    let resolver: Arc<dyn ResolvesServerCert> =
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![certificate.der().clone()], key)));
    let mut config = (*serving(&BOB, ClientCertificates::Ignored)).clone();
    config.cert_resolver = resolver;
    Arc::new(config)
}

#[test]
fn each_failure_says_what_it_is() {
    let good = serving(&AUTHORIZED.server, ClientCertificates::Ignored);
    let trusting = client(&trust(), None);
    let wrong = failure(&trusting, &good, "elsewhere.test");
    let TlsFailure::WrongName { called, names } = &wrong else { panic!("{wrong:?}") };
    assert_eq!(called, "elsewhere.test");
    assert_eq!(names[..2], ["server.test", "192.0.2.1"]);
    assert!(wrong.to_string().contains("for server.test, 192.0.2.1"), "{wrong}");

    let stranger = client(&authority(&BOB.certificate), None);
    assert_eq!(failure(&stranger, &good, "server.test"), TlsFailure::UnknownAuthority);
    let pinned = client(&pinned(&[&BOB]), None);
    let presented = Fingerprint::of(&identity(&AUTHORIZED.server).chain()[0]);
    assert_eq!(failure(&pinned, &good, "server.test"), TlsFailure::NotPinned(presented));

    let expired = failure(&trusting, &dated(-9..-1), "server.test");
    assert!(matches!(expired, TlsFailure::Expired(Some(_))), "{expired:?}");
    assert!(expired.to_string().contains("has expired on 20"), "{expired}");
    let early = failure(&trusting, &dated(1..9), "server.test");
    assert!(matches!(early, TlsFailure::NotYetValid(Some(_))), "{early:?}");
    assert!(early.to_string().contains("from 20"), "{early}");
}

#[test]
fn an_authority_that_serves_as_itself_is_told_from_an_unknown_one() {
    let (certificate, key) =
        (AUTHORIZED.authority.certificate_pem(), AUTHORIZED.authority.key_pem());
    let itself = stream_pki::KeyPairPem { certificate, key };
    let server = serving(&itself, ClientCertificates::Ignored);
    let why = failure(&client(&trust(), None), &server, "server.test");
    assert_eq!(why, TlsFailure::AuthorityAsServer);
}

#[test]
fn what_does_not_speak_our_tls_is_told() {
    let connection = || {
        let name = "server.test".try_into().unwrap();
        ClientConnection::new(client(&trust(), None), name).unwrap()
    };
    let answered = |bytes: &[u8]| -> Error {
        let mut client = connection();
        client.read_tls(&mut &*bytes).unwrap();
        client.process_new_packets().unwrap_err()
    };
    let plain = answered(b"INFO {\"server_id\":\"x\"}\r\n");
    assert_eq!(TlsFailure::find(&plain), Some(TlsFailure::PlainText));
    // A fatal alert, protocol_version (70).
    let old = answered(&[0x15, 3, 3, 0, 2, 2, 70]);
    assert_eq!(TlsFailure::find(&old), Some(TlsFailure::NoCommonVersion));
    // A fatal alert, certificate_required (116).
    let wants = answered(&[0x15, 3, 3, 0, 2, 2, 116]);
    assert!(matches!(TlsFailure::find(&wants), Some(TlsFailure::OurCertificate(_))));
    assert_eq!(TlsFailure::find(&io::Error::other("unrelated")), None);
}

#[test]
fn who_is_called_by_an_address_may_have_the_certificate_of_a_configured_name() {
    let server = serving(&AUTHORIZED.server, ClientCertificates::Ignored);
    let config = |known: &[&str]| {
        let client = ReloadableClient::new(&trust(), None, &names(known)).unwrap();
        Arc::new(client.client_config().unwrap())
    };
    assert!(connect(&config(&["other.test", "server.test"]), &server, "192.0.2.9").is_ok());
    // Who is called by a configured name has to have just that one.
    let strict = config(&["other.test", "server.test"]);
    for (config, name) in [(&strict, "other.test"), (&config(&["other.test"]), "192.0.2.9")] {
        let why = failure(config, &server, name);
        assert!(matches!(why, TlsFailure::WrongName { .. }), "{why:?}");
    }
    // No name helps a certificate of somebody else.
    let alice = serving(&ALICE, ClientCertificates::Ignored);
    let why = failure(&config(&["alice.test"]), &alice, "192.0.2.9");
    assert_eq!(why, TlsFailure::UnknownAuthority);
    assert!(client_config(&trust(), None).is_ok());
}
