//! What operators see of the agents from a gateway, and the order to drain.

use crate::support::fleet::Fleet;
use crate::support::{APP, Answer, Http, ScriptedStack, eventually, light_instances, run_flow};
use anyhow::{Context, bail, ensure};
use reqwest::Method;
use serde_json::Value;
use stream_dev::in_process::Options;
use stream_gateway::admin::Client;
use toml::toml;

const AGENTS: &str = "/1.0/agents";

async fn drain(gateway: &Http, agent: &str, query: &str) -> anyhow::Result<Answer> {
    gateway.send(Method::POST, &format!("{AGENTS}/{agent}/drain{query}"), None).await
}

async fn cancel(gateway: &Http, agent: &str) -> anyhow::Result<Answer> {
    gateway.send(Method::DELETE, &format!("{AGENTS}/{agent}/drain"), None).await
}

async fn row(gateway: &Http, agent: &str) -> anyhow::Result<Value> {
    let rows = gateway.get(AGENTS).await?.success()?;
    let row = rows.as_array().and_then(|rows| rows.iter().find(|row| row["name"] == agent));
    Ok(row.context("a row")?.clone())
}

/// Waits until the row of an agent has this state.
async fn becomes(gateway: &Http, agent: &str, state: &str) -> anyhow::Result<Value> {
    eventually(state, async || {
        let row = row(gateway, agent).await?;
        Ok((row["state"] == state).then_some(row))
    })
    .await
}

#[test]
fn an_operator_sees_every_agent_and_takes_one_out_and_back() {
    run_flow(async || seen_and_drained(Options::default()).await);
}

pub(crate) async fn seen_and_drained(options: Options) -> anyhow::Result<()> {
    let options = Options { launcher: light_instances(), ..options };
    let mut fleet = Fleet::start(options, 2, 1).await?;
    let operators = Client::new(fleet.gateways[0].socket());
    let token = operators.create_operator("operator", None, Default::default()).await?;
    let operator = fleet.http.with(Some(&token));
    for number in 0..6 {
        fleet.http.create_with_key(APP, &format!("session-{number}")).await?.success()?;
    }
    let served = async |agent: &str| {
        let row = becomes(&operator, agent, "serving").await?;
        anyhow::Ok(row["sessions"].as_u64().unwrap_or_default())
    };
    ensure!(served("agent-0").await? + served("agent-1").await? == 6);
    let seen = row(&operator, "agent-0").await?;
    ensure!(seen["version"] == env!("CARGO_PKG_VERSION") && seen["remote_drain"] == true, "{seen}");
    let dependencies = seen["dependencies"].as_object().context("dependencies")?;
    for name in ["nats", "ams", "relays", "tokens"] {
        ensure!(dependencies.get(name).is_some_and(|state| state == "ok"), "{name}: {seen}");
    }
    let actors = seen["actors"].as_array().context("actors")?;
    ensure!(actors.iter().any(|it| it["name"] == "sessions" && it["state"] == "running"), "{seen}");
    ensure!(fleet.http.get(AGENTS).await?.status == 403, "an account is no operator");

    drain(&operator, "agent-0", "").await?.success()?;
    let drained = becomes(&operator, "agent-0", "drained").await?;
    ensure!(drained["ends_in_s"].is_null(), "{drained}");
    ensure!(served("agent-1").await? == 6, "the other one has all of them");
    ensure!(fleet.agents[0].process.ended().is_none(), "it stays");
    for number in 6..8 {
        fleet.http.create_with_key(APP, &format!("session-{number}")).await?.success()?;
    }
    ensure!(row(&operator, "agent-0").await?["sessions"] == 0, "it takes none");

    let refused = drain(&operator, "agent-1", "").await?;
    ensure!(refused.status == 409, "{refused:?}");
    drain(&operator, "agent-1", "?force=true").await?.success()?;
    becomes(&operator, "agent-1", "draining").await?;
    cancel(&operator, "agent-1").await?.success()?;
    cancel(&operator, "agent-0").await?.success()?;
    ensure!(cancel(&operator, "agent-0").await?.status == 409);
    becomes(&operator, "agent-0", "serving").await?;

    ensure!(drain(&operator, "agent-7", "").await?.status == 404);
    ensure!(drain(&operator, "Not%20One", "").await?.status == 404);

    // One that hangs gives signs of life for a while.
    fleet.agents[0].process.suspend()?;
    let silent = becomes(&operator, "agent-0", "silent").await?;
    ensure!(silent["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{silent}");
    ensure!(drain(&operator, "agent-0", "").await?.status == 503);
    // What was refused is not carried out later.
    fleet.agents[0].process.wake()?;
    becomes(&operator, "agent-0", "serving").await?;

    // Nor does it say how its relays are.
    fleet.agents[0].process.suspend()?;
    let relays = operator.get("/1.0/relays").await?.success()?;
    let [row] = relays.as_array().context("rows")?.as_slice() else { bail!("{relays}") };
    ensure!(row["state"] == "silent" && row["server"] == "", "{relays}");
    let [at] = row["agents"].as_array().context("agents")?.as_slice() else { bail!("{relays}") };
    ensure!(at["agent"] == "agent-0" && at["state"] == "silent", "{relays}");
    ensure!(at["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{relays}");
    fleet.agents[0].process.wake()?;
    Ok(())
}

#[test]
fn an_operator_sees_how_the_relays_answer() {
    run_flow(async || {
        let scripted =
            ScriptedStack::start_with(Options { coturn: true, ..Options::default() }).await?;
        let nodes = &scripted.stack.nodes;
        let operators = Client::new(nodes.admin_socket());
        let token = operators.create_operator("operator", None, Default::default()).await?;
        let operator = Http::new(&nodes.gateway_url(), Some(&token), nodes.gateway_pin()?)?;
        let relays = operator.get("/1.0/relays").await?.success()?;
        let [relay] = relays.as_array().context("rows")?.as_slice() else { bail!("{relays}") };
        ensure!(relay["state"] == "good", "{relay}");
        let at = &relay["agents"][0];
        ensure!(at["agent"] == nodes.agent.as_str() && at["state"] == "good", "{relay}");
        let way = &at["transports"][0];
        ensure!(way["binding_us"].as_u64().is_some_and(|time| time > 0), "{relay}");
        ensure!(way["allocate_us"].as_u64() >= way["binding_us"].as_u64(), "{relay}");
        ensure!(way["cause"] == "", "{relay}");

        drop(scripted.stack.coturn);
        let fails =
            |relays: &Value| relays[0]["agents"][0]["transports"][0]["binding_us"].is_null();
        let relays = eventually("seen to be gone", async || {
            let relays = operator.get("/1.0/relays").await?.success()?;
            Ok(fails(&relays).then_some(relays))
        })
        .await?;
        let cause = &relays[0]["agents"][0]["transports"][0]["cause"];
        ensure!(cause.as_str().is_some_and(|cause| cause.starts_with("binding: ")), "{relays}");
        Ok(())
    });
}

#[test]
fn an_agent_takes_no_orders_from_the_network_unless_its_file_says_so() {
    run_flow(async || {
        let agent = toml! { agent.remote_drain = false };
        let scripted = ScriptedStack::start_with(Options { agent, ..Options::default() }).await?;
        let nodes = &scripted.stack.nodes;
        let operators = Client::new(nodes.admin_socket());
        let token = operators.create_operator("operator", None, Default::default()).await?;
        let operator = Http::new(&nodes.gateway_url(), Some(&token), nodes.gateway_pin()?)?;
        let seen = becomes(&operator, &nodes.agent, "serving").await?;
        ensure!(seen["remote_drain"] == false, "{seen}");
        let refused = drain(&operator, &nodes.agent, "?force=true").await?;
        ensure!(refused.status == 403, "{refused:?}");
        ensure!(refused.body["error"].as_str().is_some_and(|text| text.contains("remote_drain")));
        ensure!(drain(&operator, &nodes.agent, "?force=maybe").await?.status == 400);
        becomes(&operator, &nodes.agent, "serving").await?;
        Ok(())
    });
}
