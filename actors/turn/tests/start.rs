//! Starts while NATS is away: nothing listens on port 1.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use actix::System;
use stream_bridge::Bridge;
use stream_pki::{Authority, write_new};
use stream_protocol::SessionId;
use stream_supervisor::Supervisor;
use stream_turn::{Config, Peer, Server, Turn, TurnError};

const STUN: &str = "stun:stun.example.org:3478";

fn bridge(directory: &Path, supervisor: &Supervisor) -> Bridge {
    static CA: OnceLock<String> = OnceLock::new();
    let ca = CA.get_or_init(|| Authority::generate("test").unwrap().certificate_pem());
    let (ca_file, token) = (directory.join("ca.pem"), directory.join("nats.token"));
    fs::write(&ca_file, ca).unwrap();
    write_new(&token, "t".repeat(32).as_bytes(), 0o600).unwrap();
    let config = stream_bridge::Config {
        servers: vec!["tls://127.0.0.1:1".into()],
        ca: ca_file,
        token: Some(token),
        credentials: None,
        nkey: None,
        certificate: None,
        key: None,
        replicas: 1,
    };
    Bridge::start(config, "test", supervisor).unwrap()
}

/// A configuration whose secret files do not exist.
fn config(directory: &Path, relays: &[&str]) -> Config {
    let server = |url: &&str| Server { urls: vec![(*url).to_owned()], ca: None };
    Config {
        servers: relays.iter().map(server).collect(),
        pools: Vec::new(),
        stun: vec![STUN.into()],
        probe_s: 10,
        lifetime_s: 3600,
        lifetime_without_renewal_s: None,
        sealing_key: directory.join("sealing.key"),
        first_secret: directory.join("turn.secret"),
        state: directory.join("state"),
    }
}

fn run(test: impl AsyncFnOnce(&Path, Bridge, &Supervisor)) {
    System::new().block_on(async {
        let (directory, supervisor) = (tempfile::tempdir().unwrap(), Supervisor::default());
        let bridge = bridge(directory.path(), &supervisor);
        test(directory.path(), bridge, &supervisor).await;
        supervisor.stop();
    });
}

#[test]
fn without_relays_there_is_stun_at_once_and_no_secret_is_needed() {
    run(async |directory, bridge, supervisor| {
        let turn = Turn::start(config(directory, &[]), bridge, supervisor).unwrap();
        turn.ready().await.unwrap();
        let servers = turn.issue(&SessionId::random(), Peer::Client, "").await.unwrap();
        assert_eq!(servers.len(), 1);
        assert_eq!(servers[0].urls, [STUN]);
        assert_eq!(servers[0].username, None);
    });
}

#[test]
fn with_relays_there_is_nothing_until_the_secret_is_here() {
    run(async |directory, bridge, supervisor| {
        write_new(directory.join("sealing.key"), "s".repeat(32).as_bytes(), 0o600).unwrap();
        write_new(directory.join("turn.secret"), "t".repeat(64).as_bytes(), 0o600).unwrap();
        let config = config(directory, &["turn:turn.example.org:3478"]);
        let turn = Turn::start(config, bridge, supervisor).unwrap();
        let issued = turn.issue(&SessionId::random(), Peer::Instance, "").await;
        assert!(matches!(issued, Err(TurnError::NotReady(_))), "{issued:?}");
        assert!(matches!(turn.ready().await, Err(TurnError::NotReady(_))));
    });
}

#[test]
fn a_secret_file_that_cannot_be_used_stops_the_start() {
    run(async |directory, bridge, supervisor| {
        let config = config(directory, &["turn:turn.example.org:3478"]);
        let start = || Turn::start(config.clone(), bridge.clone(), supervisor).err();
        assert!(matches!(start(), Some(TurnError::Secret(_))), "no sealing key");
        write_new(&config.sealing_key, "s".repeat(32).as_bytes(), 0o600).unwrap();
        write_new(&config.first_secret, b"short", 0o600).unwrap();
        assert!(matches!(start(), Some(TurnError::Secret(_))), "a short secret");
        fs::remove_file(&config.first_secret).unwrap();
        assert!(start().is_none(), "the secret may have been begun elsewhere");
    });
}
