//! A service that runs renews the certificate of its own making: whoever pins it hears of the next
//! one first, and nobody is cut off.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use serde_json::json;
use stream_agent::agent::{Agent, AgentConfig};
use stream_dev::keys::KeyStore;
use stream_dev::node_files::NodeFiles;
use stream_pki::{
    Authority, Fingerprint, KeyPairPem, PairSlot, PairStore, Trust, client_config, write_new,
};
use stream_protocol::Commands;
use time::{Duration, OffsetDateTime};
use toml::toml;

use super::{good_between, signed};
use crate::support::socket::Socket;
use crate::support::{Http, Instance, ScriptedStack, eventually, run_flow};

/// The life of the certificate that is renewed, in seconds: the next one is told for a hundredth of
/// it at least.
const LIFE_S: i64 = 3000;

/// What of it is over, which is more than two thirds with any jitter.
const AGE_S: i64 = 2400;

/// How often both ends say something while they wait.
const TALK: std::time::Duration = std::time::Duration::from_secs(2);

/// Gives `nodes` an authority of its own and a certificate that is due, as `init` would have years
/// ago. Returns what it shows.
fn install(nodes: &NodeFiles) -> anyhow::Result<Fingerprint> {
    let dir = nodes.agent_dir();
    let file = |name: &str| dir.join(name);
    let authority = Authority::generate("site")?;
    write_new(file("ca.crt"), authority.certificate_pem().as_bytes(), 0o644)?;
    write_new(file("ca.key"), authority.key_pem().as_bytes(), 0o600)?;
    let key = fs::read_to_string(file("server.key"))?;
    let mut params = good_between([0, 0])?;
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::seconds(AGE_S);
    params.not_after = now + Duration::seconds(LIFE_S - AGE_S);
    let certificate = signed(&authority, &key, params)?;
    let store = PairStore::at(dir.join("state/server"));
    store.store(PairSlot::Present, &KeyPairPem { certificate, key: key.into() })?;
    store.link(PairSlot::Present, &file("server.crt"), &file("server.key"))?;
    store.link(PairSlot::Next, &file("server-next.crt"), &file("server-next.key"))?;
    nodes.agent_pin()
}

/// What an instance hears of the certificates of the agent at `url`, from the agent that it asks.
async fn told(instance: &Instance, url: &str) -> anyhow::Result<Vec<String>> {
    let commands: Commands = serde_json::from_value(instance.commands(0, 0).await?)?;
    let agent = commands.agents.into_iter().find(|agent| agent.url == url);
    Ok(agent.map(|agent| agent.fingerprints).unwrap_or_default())
}

/// A signal to the instance, and one back, among what else they hear.
async fn talk(client: &mut Socket, instance: &mut Socket) -> anyhow::Result<()> {
    client.send(&json!({ "type": "offer" })).await?;
    while instance.next().await?["signal"]["type"] != "offer" {}
    let id = OffsetDateTime::now_utc().unix_timestamp_nanos().to_string();
    let answer = json!({ "id": id, "generation": 0, "signal": { "type": "answer" } });
    instance.send(&answer).await?;
    while client.next().await?["type"] != "answer" {}
    Ok(())
}

#[test]
fn a_certificate_is_renewed_by_the_service_that_shows_it_once_all_have_heard_of_the_next_one() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        ensure!(instance.report("running").await?.status.is_success());
        let stack = &mut scripted.stack;
        stack.config.override_agent(toml! { tls.reload_s = 1 });
        let nodes = stack.nodes.join("renewing", "agent-2", &KeyStore::shared()?)?;
        let before = install(&nodes)?;
        let config = AgentConfig::read(&nodes.write_agent(&stack.config)?)?;
        let agent = Agent::start(config)?;
        let (url, token) = (nodes.agent_url(), instance.userdata.token.as_str());
        let shows = async |pin: Fingerprint| {
            let http = Http::new(&url, Some(token), pin)?;
            anyhow::Ok(http.get("/1.0/version").await.is_ok())
        };
        ensure!(shows(before).await?, "it shows what was installed");

        // Connected to it, and to a client at the other end.
        let tls = Arc::new(client_config(&Trust::Pins(vec![before]), None)?);
        let path = instance.path("/sockets/master?after=");
        let socket = format!("{}{path}", url.replace("https://", "wss://"));
        let mut of_instance = Socket::open_as(&socket, &tls, Some(token)).await?;
        let mut of_client = Socket::open(&created, stack).await?;

        // It is told by the other agent, which has it from the store.
        let next = eventually("told", async || {
            let told = told(&instance, &url).await?;
            Ok((told.len() == 2).then(|| told[1].parse::<Fingerprint>()).transpose()?)
        })
        .await?;
        ensure!(next != before);
        ensure!(shows(before).await? && !shows(next).await?, "shown before it was told for long");
        let mut talked = Instant::now();
        eventually("shown", async || {
            // Who says nothing and hears nothing for long is cut off.
            if talked.elapsed() > TALK {
                talk(&mut of_client, &mut of_instance).await?;
                talked = Instant::now();
            }
            Ok(shows(next).await?.then_some(()))
        })
        .await?;
        ensure!(!shows(before).await?, "two are shown");
        ensure!(nodes.agent_pin()? == next, "it is not what the files hold");
        eventually("told alone", async || {
            Ok((told(&instance, &url).await? == [next.to_string()]).then_some(()))
        })
        .await?;

        // The connections are those of before.
        talk(&mut of_client, &mut of_instance).await?;
        let restarts = agent.supervisor.status();
        ensure!(restarts.iter().all(|actor| actor.restarts == 0), "{restarts:?}");
        agent.stop().await;
        Ok(())
    });
}
