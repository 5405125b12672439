//! A nats-server that is there and is no use: with the wrong certificate, without
//! room; and servers that cannot be reached among those that can.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;
use stream_bridge::{BridgeError, Config, ConnectionStatus};
use stream_dev::keys::KeyStore;
use stream_dev::nats::Nats;
use stream_pki::{Authority, KeyPairPem};
use stream_protocol::subjects::Bucket;

use crate::nats::{Unit, change_signals};
use crate::support::{eventually, run_flow};

/// Waits until the bridge says why it is not connected, in words that hold `expected`.
async fn told(unit: &Unit, what: &str, expected: &str) -> anyhow::Result<ConnectionStatus> {
    let says = |status: &ConnectionStatus| {
        !status.connected && status.error.as_ref().is_some_and(|why| why.contains(expected))
    };
    let told = unit.until(what, says).await;
    match told {
        Ok(status) => Ok(status),
        Err(error) => {
            let last = unit.bridge.status().await.error;
            Err(error.context(format!("{what}: it says {last:?}")))
        }
    }
}

#[test]
fn what_is_wrong_with_a_server_is_told_in_words() {
    run_flow(async || {
        let (dir, keys) = (tempfile::tempdir()?, KeyStore::shared()?);
        let mut nats = Nats::start(&dir.path().join("nats"), &keys)?;
        let authority = Authority::generate("test")?;
        let ca = dir.path().join("test-ca.crt");
        std::fs::write(&ca, authority.certificate_pem())?;
        let named = authority.issue("nats", &["nats.example.test".to_owned()])?;
        let itself =
            KeyPairPem { certificate: authority.certificate_pem(), key: authority.key_pem() };
        let stranger = Config { ca: ca.clone(), ..nats.bridge() };
        told(&Unit::start(stranger.clone())?, "a stranger", "is not among the trusted ones, check")
            .await?;
        for (what, pair, expected) in [
            ("by another name", &named, "is for nats.example.test, not for 127.0.0.1"),
            ("an authority itself", &itself, "is that of an authority"),
        ] {
            nats.change_certificate(pair)?;
            nats.restart()?;
            told(&Unit::start(stranger.clone())?, what, expected).await?;
        }
        nats.edit("handshake_first: true", "handshake_first: false")?;
        nats.restart()?;
        told(&Unit::start(stranger)?, "plain text", "`handshake_first: true`").await?;
        let nobody = Config { servers: vec!["tls://127.0.0.1:1".to_owned()], ..nats.bridge() };
        told(&Unit::start(nobody)?, "nobody", "127.0.0.1:1: it cannot be reached").await?;
        Ok(())
    });
}

#[test]
fn a_server_without_room_for_a_signal_is_refused_with_the_numbers() {
    run_flow(async || {
        let (dir, keys) = (tempfile::tempdir()?, KeyStore::shared()?);
        let mut nats = Nats::start(&dir.path().join("nats"), &keys)?;
        nats.edit("jetstream {", "max_payload: 64KB\njetstream {")?;
        nats.restart()?;
        let unit = Unit::start(nats.bridge())?;
        let status = told(&unit, "refused", "at most 65536 bytes").await?;
        assert!(status.error.is_some_and(|why| why.contains("raise max_payload")));
        nats.edit("max_payload: 64KB", "max_payload: 1MB")?;
        nats.restart()?;
        unit.until("connected", |status| status.connected).await?;
        unit.works().await
    });
}

#[test]
fn mute_servers_do_not_delay_the_way_to_one_that_answers() {
    const MUTE: usize = 6;
    run_flow(async || {
        let (dir, keys) = (tempfile::tempdir()?, KeyStore::shared()?);
        let mut nats = Nats::start(&dir.path().join("nats"), &keys)?;
        // The system takes the connections, and nobody ever says a word.
        let mute: Vec<_> =
            (0..MUTE).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
        let mut servers = vec![nats.url()];
        for listener in &mute {
            servers.push(format!("tls://{}", listener.local_addr()?));
        }
        let begun = Instant::now();
        let unit = Unit::connected(Config { servers, ..nats.bridge() }).await?;
        println!("connected after {} ms", begun.elapsed().as_millis());
        // One alone would be waited for as long.
        ensure!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        nats.kill();
        unit.until("away", |status| !status.connected).await?;
        nats.restart()?;
        let begun = Instant::now();
        unit.until("back", |status| status.connected).await?;
        println!("back after {} ms", begun.elapsed().as_millis());
        unit.works().await
    });
}

#[test]
fn servers_that_are_advertised_by_address_are_taken_for_those_of_the_configured_name() {
    run_flow(async || {
        let (dir, keys) = (tempfile::tempdir()?, KeyStore::shared()?);
        let mut servers = Nats::cluster(&dir.path().join("cluster"), &keys, 3)?;
        let authority = Authority::generate("test")?;
        let pair = authority.issue("nats", &["localhost".to_owned()])?;
        for server in &mut servers {
            server.stop();
            server.change_certificate(&pair)?;
            std::fs::write(server.ca(), authority.certificate_pem())?;
            server.edit("tls://127.0.0.1:", "tls://localhost:")?;
        }
        for server in &mut servers {
            server.restart()?;
        }
        let first = format!("tls://localhost:{}", servers[0].port());
        let config = Config { servers: vec![first], replicas: 3, ..servers[0].bridge() };
        // The client learns of other servers when it connects, and from this one only once they
        // have found each other.
        Unit::connected(config.clone()).await?;
        let unit = Unit::connected(config).await?;
        servers[0].kill();
        let elsewhere = |status: &ConnectionStatus| {
            status.connected && status.server.as_ref().is_some_and(|server| server != "nats-0")
        };
        unit.until("elsewhere", elsewhere).await?;
        eventually("at work", async || Ok(unit.works().await.ok())).await
    });
}

#[test]
fn a_store_that_is_switched_off_is_told_until_it_is_on_again() {
    run_flow(async || {
        let (dir, keys) = (tempfile::tempdir()?, KeyStore::shared()?);
        let nats = Nats::start(&dir.path().join("nats"), &keys)?;
        let unit = Unit::connected(nats.bridge()).await?;
        nats.edit("jetstream {", "jetstream {\n  enabled: false")?;
        nats.reload()?;
        told(&unit, "off", "NATS does not store anything").await?;
        nats.edit("enabled: false", "enabled: true")?;
        nats.reload()?;
        eventually("at work", async || Ok(unit.works().await.ok())).await?;
        unit.until("on again", |status| status.connected).await.map(drop)
    });
}

#[test]
fn a_store_without_room_refuses_with_the_cause_and_is_told() {
    // Far beyond the room of the server, in records of 40 KB.
    const MANY: usize = 400;
    run_flow(async || {
        let (dir, keys) = (tempfile::tempdir()?, KeyStore::shared()?);
        let mut nats = Nats::start(&dir.path().join("nats"), &keys)?;
        let unit = Unit::connected(nats.bridge()).await?;
        // The log reserves next to nothing, as an operator may have it.
        change_signals(&nats, |config| config.max_bytes = 1 << 20).await?;
        nats.edit("max_file_store: 4GB", "max_file_store: 4MB")?;
        nats.restart()?;
        unit.until("back", |status| status.connected).await?;

        let (record, mut refused) = (json!({ "text": "x".repeat(40_000) }), None);
        for n in 0..MANY {
            match unit.bridge.put(Bucket::Sessions, &format!("record{n}"), &record).await {
                Ok(_) => {}
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        let refused = refused.context("there is room without end")?;
        ensure!(matches!(refused, BridgeError::StoreRefused(_)), "{refused:?}");
        told(&unit, "full", "NATS does not store anything").await?;

        nats.edit("max_file_store: 4MB", "max_file_store: 4GB")?;
        nats.restart()?;
        eventually("at work", async || Ok(unit.works().await.ok())).await?;
        unit.until("well", |status| status.connected).await.map(drop)
    });
}

#[test]
fn a_bucket_that_is_full_refuses_what_is_new_until_something_goes_and_leaves_room_to_others() {
    // Beyond the room of the bucket, in records of 60 KB.
    const MANY: usize = 400;
    run_flow(async || {
        let (dir, keys) = (tempfile::tempdir()?, KeyStore::shared()?);
        let nats = Nats::start(&dir.path().join("nats"), &keys)?;
        let unit = Unit::connected(nats.bridge()).await?;
        let record = json!({ "text": "x".repeat(60_000) });
        let put = async |n: usize| {
            unit.bridge.put(Bucket::Endpoints, &format!("record{n}"), &record).await
        };
        let mut stored = 0;
        let refused = loop {
            match put(stored).await {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
            ensure!(stored < MANY, "there is room without end");
        };
        ensure!(matches!(refused, BridgeError::StoreRefused(_)), "{refused:?}");
        told(&unit, "full", "NATS does not store anything").await?;

        unit.works().await?;
        unit.bridge.remove(Bucket::Endpoints, "record0").await?;
        put(stored).await?;
        unit.until("well", |status| status.connected).await.map(drop)
    });
}
