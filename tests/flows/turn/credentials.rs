//! Who may relay, over which relays, and what an operator sees of it.

use std::collections::BTreeSet;

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};
use stream_bridge::BridgeError;
use stream_dev::coturn::Coturn;
use stream_dev::in_process::{Options, Stack};
use stream_protocol::{IceServer, SessionId};
use stream_supervisor::Supervisor;
use stream_turn::{Peer, Signer};
use tokio::process::Command;
use toml::toml;

use super::relays::{POOL, Relays, Shared, bridge, can_relay, credential, now};
use crate::support::socket::Socket;
use crate::support::{APP, Http, Instance, ScriptedStack, eventually, run_flow};

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

/// For how many seconds the credential of the one relay among `servers` is still good.
fn life(servers: &Value) -> anyhow::Result<u64> {
    let username = servers[0]["username"].as_str().with_context(|| format!("{servers}"))?;
    let expiry: u64 = username.split(':').next().context("an expiry")?.parse()?;
    Ok(expiry.saturating_sub(now()))
}

fn is_about(found: u64, expected: u64) -> anyhow::Result<()> {
    anyhow::ensure!((expected - 30..=expected).contains(&found), "{found} s, not {expected} s");
    Ok(())
}

#[test]
fn who_does_not_renew_gets_a_longer_life_and_nobody_outlives_what_they_came_with() {
    run_flow(async || {
        let (short, long) = (3600, 86400);
        let agent = toml! { turn.lifetime_without_renewal_s = 86400 };
        let options = Options { coturn: true, agent, ..Options::default() };
        let mut scripted = ScriptedStack::start_with(options).await?;
        let (nodes, token) = (&scripted.stack.nodes, scripted.stack.token.clone());
        let http = Http::new(&nodes.gateway_url(), Some(&token), nodes.gateway_pin()?)?;
        let body = || Some(json!({ "app": APP, "joinable": true }));
        let post = async |path: &str, body| http.send(Method::POST, path, body).await?.success();

        let created = post("/1.0/sessions?renew=true", body()).await?;
        is_about(life(&created["stun_servers"])?, short).context("created, renews")?;
        let mut boots = vec![scripted.booted().await?];
        let created = http.keyed("once");
        let again = async |query: &str| {
            let path = format!("/1.0/sessions{query}");
            created.send(Method::POST, &path, body()).await?.success()
        };
        let created = again("").await?;
        is_about(life(&created["stun_servers"])?, long).context("created")?;
        boots.push(scripted.booted().await?);
        let repeated = again("?renew").await?;
        assert_eq!(repeated["id"], created["id"]);
        is_about(life(&repeated["stun_servers"])?, short).context("asked for again, renews")?;

        let id = created["id"].as_str().context("an id")?;
        let own = |instance: &Instance| instance.userdata.session_id.as_str() == id;
        let instance = boots.into_iter().find(own).context("its instance")?;
        instance.report("running").await?.success()?;
        let join = async |query: &str| post(&format!("/1.0/sessions/{id}/join{query}"), None).await;
        is_about(life(&join("?renew=true").await?["stun_servers"])?, short).context("renews")?;
        let joined = join("").await?;
        is_about(life(&joined["stun_servers"])?, long).context("joined")?;
        let unclear = format!("/1.0/sessions/{id}/join?renew=x");
        assert_eq!(http.send(Method::POST, &unclear, None).await?.status, 400);

        // Whatever comes over the socket is renewed again in time, as for an instance.
        let url = joined["url"].as_str().context("a socket")?;
        let mut socket = Socket::open_url(url, &scripted.stack).await?;
        let path = instance.path("/ice-servers?renew=true");
        let fetched = instance.http.send(Method::POST, &path, None).await?.success()?;
        is_about(life(&fetched)?, short).context("the instance")?;
        let message = socket.next().await?;
        assert_eq!(message["type"], "ice_servers");
        is_about(life(&message["ice_servers"])?, short).context("over the socket")?;

        let expiry_at = now() + 900;
        let share = json!({ "type": "control", "expiry_at": expiry_at });
        let share = post(&format!("/1.0/sessions/{id}/share"), Some(share)).await?;
        let url = share["url"].as_str().context("a link")?;
        let (_, share) = url.split_once("&share=").context("a token")?;
        for renew in ["", "&renew=true"] {
            let path = format!("/1.0/sessions/{id}/connect?type=control&token={share}{renew}");
            let joined = http.with(None).get(&path).await?.success()?;
            is_about(life(&joined["stun_servers"])?, 900).context("ends with its share")?;
            let url = joined["url"].as_str().context("a socket")?;
            let mut socket = Socket::open_url(url, &scripted.stack).await?;
            let fetch = async || {
                let path = instance.path("/ice-servers?renew=true");
                instance.http.send(Method::POST, &path, None).await?.success()?;
                let renewal = instance.commands(0, 0).await?["ice_renewal"].clone();
                anyhow::Ok(renewal)
            };
            let before = fetch().await?;
            eventually("renewed", async || Ok((fetch().await? != before).then_some(()))).await?;
            let message = socket.next().await?;
            assert_eq!(message["type"], "ice_servers");
            is_about(life(&message["ice_servers"])?, 900).context("over its socket")?;
        }
        Ok(())
    });
}
