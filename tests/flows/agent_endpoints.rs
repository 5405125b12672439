//! How instances find agents that have other addresses and other certificates than their launcher.

use crate::support::socket::Socket;
use crate::support::{Http, STEP_TIMEOUT, ScriptedStack, eventually, run_flow};
use anyhow::{Context, bail, ensure};
use serde_json::json;
use stream_bridge::Bridge;
use stream_dev::keys::KeyStore;
use stream_dev::node_files::NodeFiles;
use stream_protocol::subjects::Bucket;
use stream_protocol::{AgentEndpoint, Commands, Userdata};
use stream_simulators::instance::{self, Behaviour};
use stream_supervisor::Supervisor;
use tokio::sync::watch;

/// What an instance is told, at once or as soon as it is something else than it knows.
async fn told(
    instance: &Http,
    session: &str,
    known: Option<&Commands>,
) -> anyhow::Result<Commands> {
    let known = known.map(|known| {
        let Commands { revision, agents_version, .. } = known;
        format!("after={revision}&agents={agents_version}&")
    });
    let known = known.unwrap_or_default();
    let path = format!("/1.0/sessions/{session}/commands?{known}wait=60");
    let answer = instance.get(&path).await?.success()?;
    Ok(serde_json::from_value(answer)?)
}

#[test]
fn an_instance_goes_on_with_an_agent_of_another_address_and_certificate() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, launched) = scripted.create().await?;
        let session = created.id.clone();
        let nodes = scripted.stack.nodes.clone();
        let first = AgentEndpoint { url: nodes.agent_url(), fingerprints: nodes.agent_pins()? };
        let Userdata { agents, agent_url, fingerprints, .. } = launched.userdata.clone();
        assert_eq!((&agents[..], &agent_url), (std::slice::from_ref(&first), &first.url));
        assert_eq!(fingerprints, first.fingerprints);
        let alone = told(&launched.http, &session, None).await?;
        assert_eq!(alone.agents, std::slice::from_ref(&first));

        // Whoever has a login to NATS, as a gateway has, can write the record and cannot seal it.
        let bridge =
            Bridge::start(scripted.stack.nats.bridge(), "gateway", &Supervisor::default())?;
        let forged = json!({ "sealed": "AAAA", "agent": "evil", "url": "https://evil.example" });
        let put = async || Ok(bridge.put(Bucket::Endpoints, "evil", &forged).await.ok());
        eventually("written", put).await?;

        let (nodes, second) = scripted.stack.another_agent_with("second", "agent-2")?;
        let expected = AgentEndpoint { url: nodes.agent_url(), fingerprints: nodes.agent_pins()? };
        ensure!(expected.fingerprints != first.fingerprints, "one certificate for both");
        // The same commands, and other agents: told while it waits.
        let both = told(&launched.http, &session, Some(&alone)).await?;
        assert_eq!(both.agents, [first, expected]);
        assert_eq!(both.revision, alone.revision);

        // From here on an instance that does what it is told.
        let (_stop, stopped) = watch::channel(false);
        let userdata = serde_json::to_string(&launched.userdata)?;
        let instance = instance::run(userdata, Behaviour::default(), stopped);
        let goes_on = async {
            let active = async || {
                Ok((scripted.client.get(&session).await?.status == "active").then_some(()))
            };
            eventually("active", active).await?;
            scripted.stack.agent.stop().await;
            let join = async || Ok(scripted.client.join(&session).await.ok());
            let joined = eventually("joined", join).await?;
            let mut client = Socket::open(&joined, &scripted.stack).await?;
            client.send(&json!({ "type": "discover" })).await?;
            tokio::time::timeout(STEP_TIMEOUT, client.next()).await.context("no answer")?
        };
        let answer = tokio::select! {
            answer = goes_on => answer?,
            ended = instance => bail!("the instance has ended: {ended:?}"),
        };
        assert_eq!(answer["type"], "resp:discover", "{answer}");
        second.stop().await;
        Ok(())
    });
}

#[test]
fn a_certificate_that_is_replaced_is_told_to_instances_that_are_connected() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, launched) = scripted.create().await?;
        let nodes = &scripted.stack.nodes;
        let before = nodes.agent_pins()?;
        let known = told(&launched.http, &created.id, None).await?;
        assert_eq!(known.agents[0].fingerprints, before);
        // Another than the one that was foretold.
        show(nodes, "agent-2")?;
        // Over the connection that it has.
        let told = told(&launched.http, &created.id, Some(&known)).await?;
        let after = nodes.agent_pins()?;
        ensure!(after[0] != before[0], "the certificate is the one of before");
        assert_eq!(told.agents[0].fingerprints, after);
        Ok(())
    });
}

/// Has the agent show the certificate of the pair called `pair`.
fn show(nodes: &NodeFiles, pair: &str) -> anyhow::Result<()> {
    let pair = KeyStore::shared()?.pair(pair)?;
    std::fs::copy(&pair.key, nodes.agent_dir().join("server.key"))?;
    std::fs::copy(&pair.certificate, nodes.agent_dir().join("server.crt"))?;
    Ok(())
}

#[test]
fn an_instance_knows_the_next_certificate_before_it_is_shown() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, launched) = scripted.create().await?;
        let nodes = scripted.stack.nodes.clone();
        show(&nodes, "agent-next")?;
        scripted.stack.restart_agent().await?;
        // It has heard nothing since it was launched.
        let (_stop, stopped) = watch::channel(false);
        let userdata = serde_json::to_string(&launched.userdata)?;
        let instance = instance::run(userdata, Behaviour::default(), stopped);
        let active =
            async || Ok((scripted.client.get(&created.id).await?.status == "active").then_some(()));
        tokio::select! {
            active = eventually("active", active) => active,
            ended = instance => bail!("the instance has ended: {ended:?}"),
        }
    });
}
