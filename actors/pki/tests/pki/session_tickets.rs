//! Clients that come back: to the same server, to another one, with a ticket that is none.

use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::server::ProducesTickets;
use stream_pki::{
    ClientCertificates, ServerIdentity, SessionTicketer, TicketKey, only_resuming, server_config,
};

use crate::handshake::{client, connect};
use crate::keys::{ALICE, BOB, identity, pinned};

/// A unit that shares `key` with others.
fn sharing(key: u8) -> ServerIdentity {
    let served = ServerIdentity::new(identity(&ALICE));
    served.ticketer().set_shared_keys(vec![TicketKey::new([key; TicketKey::NAME_LEN], &[key; 32])]);
    served
}

fn serving(served: &ServerIdentity) -> Arc<rustls::ServerConfig> {
    server_config(served, ClientCertificates::Ignored)
}

/// Makes tickets in which one bit is wrong.
#[derive(Debug)]
struct Tampered(SessionTicketer);

impl ProducesTickets for Tampered {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let mut ticket = self.0.encrypt(session)?;
        *ticket.last_mut()? ^= 1;
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(ticket)
    }
}

#[test]
fn a_client_of_one_unit_resumes_at_another_that_shares_its_keys() {
    let client = client(&pinned(&[&ALICE]), None);
    connect(&client, &serving(&sharing(b'a')), "server.test").unwrap();
    let resumed = connect(&client, &serving(&sharing(b'a')), "server.test").unwrap();
    assert_eq!(resumed.client.handshake_kind(), Some(HandshakeKind::Resumed));
    let elsewhere = connect(&client, &serving(&sharing(b'b')), "server.test").unwrap();
    assert_eq!(elsewhere.client.handshake_kind(), Some(HandshakeKind::Full));
}

#[test]
fn a_ticket_from_before_the_keys_were_shared_is_good_afterwards() {
    let served = ServerIdentity::new(identity(&ALICE));
    let (client, config) = (client(&pinned(&[&ALICE]), None), serving(&served));
    connect(&client, &config, "server.test").unwrap();
    served.ticketer().set_shared_keys(vec![TicketKey::new([1; TicketKey::NAME_LEN], &[1; 32])]);
    let resumed = connect(&client, &config, "server.test").unwrap();
    assert_eq!(resumed.client.handshake_kind(), Some(HandshakeKind::Resumed));
    // This time with a ticket of the shared key.
    let shared = sharing(1);
    let resumed = connect(&client, &serving(&shared), "server.test").unwrap();
    assert_eq!(resumed.client.handshake_kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn a_tampered_ticket_costs_a_full_handshake_and_nothing_else() {
    let served = sharing(b'a');
    let mut config = (*serving(&served)).clone();
    config.ticketer = Arc::new(Tampered(served.ticketer().clone()));
    let client = client(&pinned(&[&ALICE]), Some(&BOB));
    connect(&client, &Arc::new(config), "server.test").unwrap();
    let full = connect(&client, &serving(&served), "server.test").unwrap();
    assert_eq!(full.client.handshake_kind(), Some(HandshakeKind::Full));
    let resumed = connect(&client, &serving(&served), "server.test").unwrap();
    assert_eq!(resumed.client.handshake_kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn a_server_that_is_spent_serves_who_resumes_and_signs_for_nobody_else() {
    let served = sharing(b'a');
    let (returning, new) = (client(&pinned(&[&ALICE]), None), client(&pinned(&[&ALICE]), None));
    connect(&returning, &serving(&served), "server.test").unwrap();
    let spent = Arc::new(only_resuming(&serving(&served)));
    let resumed = connect(&returning, &spent, "server.test").unwrap();
    assert_eq!(resumed.client.handshake_kind(), Some(HandshakeKind::Resumed));
    assert!(connect(&new, &spent, "server.test").is_err());
    connect(&new, &serving(&served), "server.test").unwrap();
}
