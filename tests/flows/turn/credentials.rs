//! Who may relay, over which relays, and what an operator sees of it.

use std::collections::BTreeSet;

use anyhow::Context;
use reqwest::Method;
use stream_bridge::BridgeError;
use stream_dev::coturn::Coturn;
use stream_dev::in_process::{Options, Stack};
use stream_protocol::{IceServer, SessionId};
use stream_supervisor::Supervisor;
use stream_turn::{Peer, Signer};
use tokio::process::Command;

use super::relays::{POOL, Relays, Shared, bridge, can_relay, credential, now};
use crate::support::{Http, ScriptedStack, eventually, run_flow};

#[test]
fn a_minted_credential_relays_and_no_other_does() {
    run_flow(async || {
        let bench = Relays::start(1, 3600).await?;
        let relay = &bench.relays[0];
        let session = SessionId::random();
        let mut passwords = BTreeSet::new();
        for peer in [Peer::Client, Peer::Instance] {
            let servers = bench.turn.issue(&session, peer, "").await?;
            let (username, password) = credential(&servers[0])?;
            assert!(can_relay(relay, &username, &password).await?, "{peer:?}");
            let changed = format!("9{username}");
            assert!(!can_relay(relay, &changed, &password).await?, "a longer life, as it says");
            passwords.insert(password);
        }
        assert_eq!(passwords.len(), 2, "each peer has its own");

        let expired = Signer::new(&bench.secret).session(&session, Peer::Client, now() - 1);
        assert!(!can_relay(relay, &expired.username, &expired.password).await?, "expired");
        let wrong = Signer::new(&"x".repeat(64)).session(&session, Peer::Client, now() + 60);
        assert!(!can_relay(relay, &wrong.username, &wrong.password).await?, "another secret");
        Ok(())
    });
}

#[test]
fn an_operator_tries_the_relays_and_changes_the_secret_on_the_command_line() {
    run_flow(async || {
        let mut stack = Stack::start(Options { coturn: true, ..Options::default() }).await?;
        let relay = stack.coturn.as_mut().context("the relay")?;
        let socket = stack.nodes.agent_socket();
        let run = async |words: &[&str]| {
            let mut agent = Command::new(env!("CARGO_BIN_EXE_stream-agent"));
            agent.arg("turn").args(words).arg("--socket").arg(&socket);
            let output = agent.kill_on_drop(true).output().await?;
            let said = String::from_utf8(output.stdout)?;
            anyhow::Ok((output.status.success(), said, String::from_utf8(output.stderr)?))
        };
        let (_, table, _) = run(&["probe"]).await?;
        let row = table.lines().nth(1).context("a row")?;
        let cells: Vec<_> = row.split_whitespace().collect();
        assert_eq!(cells[..4], [POOL, &relay.url(), "good", "udp"], "{table}");
        assert_eq!((cells[5], cells[7]), ("ms", "ms"), "{table}");

        let session = SessionId::random();
        let (_, printed, _) = run(&["credentials", "--session", session.as_str()]).await?;
        let word = |name: &str| printed.split_whitespace().skip_while(|w| *w != name).nth(1);
        let username = word("username").context("a user name")?;
        assert!(username.ends_with(&format!(":{session}-client")), "{printed}");
        assert!(can_relay(relay, username, word("password").context("a password")?).await?);

        let (done, secret, why) = run(&["rotate"]).await?;
        assert!(!done && why.contains("does not accept it: it refuses: 401"), "{why}");
        relay.add_secret(secret.trim())?;
        let (done, _, why) = run(&["rotate"]).await?;
        assert!(done && why.contains("the new secret is in use"), "{why}");
        let (done, _, why) = run(&["retire"]).await?;
        assert!(!done && why.contains("good for another"), "{why}");

        let supervisor = Supervisor::default();
        let bridge = bridge(&stack.nats, &supervisor)?;
        let sealing_key = stack.nodes.agent_dir().join("sealing.key");
        Shared { bridge, sealing_key }.age_old_secret().await?;
        let (_, why) = eventually("old", async || {
            let (done, _, why) = run(&["retire"]).await?;
            Ok((!why.contains("good for another")).then_some((done, why)))
        })
        .await?;
        assert!(why.contains(&format!("still on {}", relay.url())), "{why}");
        relay.restart(&[secret.trim()])?;
        let (done, _, why) = run(&["retire"]).await?;
        assert!(done && why.contains("the old secret is forgotten"), "{why}");
        let (done, _, why) = run(&["retire"]).await?;
        assert!(!done && why.contains("there is no old secret"), "{why}");
        supervisor.stop();

        let (done, _, why) = run(&["drain", &relay.url()]).await?;
        assert!(!done && why.contains("the only relay left"), "{why}");
        Ok(())
    });
}

/// The first URL of each relay.
fn first_urls(servers: &[IceServer]) -> Vec<&str> {
    servers.iter().map(|server| server.urls[0].as_str()).collect()
}

#[test]
fn the_relays_of_the_region_of_the_session_come_first_however_they_are_asked_for() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let stack = &mut scripted.stack;
        let secret = stack.nodes.turn_secret()?;
        let start = |name: &str| Coturn::start(&stack.nodes.dir.join(name), &secret);
        let (far, near) = (start("far")?, start("near")?);
        stream_dev::keys::write_secret(stack.nodes.agent_dir().join("pools.secret"), &secret)?;
        let pool = |name: &str, region: &str, relay: &Coturn| {
            let first_secret = stack.nodes.agent_dir().join("pools.secret");
            let (first_secret, url) = (first_secret.display(), relay.url());
            format!(
                "[[turn.pools]]\nname = {name:?}\nregion = {region:?}\n\
                 first_secret = \"{first_secret}\"\nservers = [{{ urls = [{url:?}] }}]\n"
            )
        };
        let pools = pool("far", "mars", &far) + &pool("near", "cloud-0", &near);
        let config = stack.nodes.dir.join("agent.toml");
        let written = std::fs::read_to_string(&config)?;
        anyhow::ensure!(written.contains("\npools = []\n"), "{written}");
        std::fs::write(&config, written.replace("\npools = []\n", "\n") + &pools)?;
        stack.restart_agent().await?;
        let agent = Http::new(&stack.nodes.agent_url(), None, stack.nodes.agent_pin()?)?;
        eventually("ready", async || {
            let ready = agent.get("/1.0/health/ready").await;
            Ok(ready.is_ok_and(|answer| answer.status == 200).then_some(()))
        })
        .await?;

        let (near, far) = (near.url(), far.url());
        let (created, instance) = scripted.create().await?;
        assert_eq!(first_urls(&created.stun_servers), [&near, &far], "as created");
        assert_eq!(instance.report("running").await?.status, 200);
        let fetch = async || {
            let path = instance.path("/ice-servers");
            let servers = instance.http.send(Method::POST, &path, None).await?.success()?;
            anyhow::Ok(serde_json::from_value::<Vec<IceServer>>(servers)?)
        };
        assert_eq!(first_urls(&fetch().await?), [&near, &far], "for the instance");

        // As after an agent of another region has taken the session over.
        let supervisor = Supervisor::default();
        let bridge = bridge(&scripted.stack.nats, &supervisor)?;
        let id = created.id.parse()?;
        let moved = async || {
            let changed = bridge.change_session::<BridgeError>(&id, |document| {
                document.request.region = "mars".to_owned();
                Ok(())
            });
            Ok(changed.await.ok())
        };
        eventually("moved", moved).await?;
        supervisor.stop();
        assert_eq!(first_urls(&fetch().await?), [&far, &near], "for the instance");
        let joined = scripted.client.join(&created.id).await?;
        assert_eq!(first_urls(&joined.stun_servers), [&far, &near], "as joined");
        Ok(())
    });
}
