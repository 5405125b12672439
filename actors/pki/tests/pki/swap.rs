//! A server that changes its certificate while clients come and go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, ServerConnection};
use stream_pki::{ClientCertificates, ServerIdentity, client_config, server_config};

use crate::handshake::{connect, to_client, to_server};
use crate::keys::{ALICE, BOB, fingerprint, identity, pinned};

/// Accepts both and never resumes, so that each handshake shows a certificate.
static CLIENT: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let mut config = client_config(&pinned(&[&ALICE, &BOB]), None).unwrap();
    config.resumption = Resumption::disabled();
    Arc::new(config)
});

#[test]
fn a_swap_is_seen_by_the_next_handshake_through_any_clone() {
    let served = ServerIdentity::new(identity(&ALICE));
    let config = server_config(&served, ClientCertificates::Ignored);
    let before = connect(&CLIENT, &config, "server.test").unwrap();
    assert_eq!(before.presented(), fingerprint(&ALICE));

    served.clone().swap(identity(&BOB));
    assert_eq!(served.current().fingerprint(), fingerprint(&BOB));
    let after = connect(&CLIENT, &config, "server.test").unwrap();
    assert_eq!(after.presented(), fingerprint(&BOB));
}

#[test]
fn a_handshake_under_way_ends_as_it_began() {
    let served = ServerIdentity::new(identity(&ALICE));
    let config = server_config(&served, ClientCertificates::Ignored);
    let mut client = ClientConnection::new(CLIENT.clone(), "server.test".try_into().unwrap());
    let client = client.as_mut().unwrap();
    let mut server = ServerConnection::new(config).unwrap();

    to_server(client, &mut server).unwrap();
    served.swap(identity(&BOB));
    to_client(&mut server, client).unwrap();
    to_server(client, &mut server).unwrap();
    assert!(!client.is_handshaking() && !server.is_handshaking());
}

#[test]
fn no_handshake_is_refused_while_identities_change() {
    let served = ServerIdentity::new(identity(&ALICE));
    let config = server_config(&served, ClientCertificates::Ignored);
    let (alice, bob) = (identity(&ALICE), identity(&BOB));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                served.swap(bob.clone());
                served.swap(alice.clone());
                thread::yield_now();
            }
        });
        let outcomes: Vec<_> = (0..50)
            .map(|_| connect(&CLIENT, &config, "server.test").map(|c| c.presented()))
            .collect();
        done.store(true, Ordering::Relaxed);
        for outcome in outcomes {
            let presented = outcome.unwrap();
            assert!([alice.fingerprint(), bob.fingerprint()].contains(&presented));
        }
    });
}
