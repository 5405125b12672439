//! Agents that drain, die, and have a wrong clock.

use anyhow::{Context, ensure};
use stream_dev::in_process::Options;
use stream_gateway::admin::Client;
use stream_protocol::Status;
use tokio::process::Command;
use toml::toml;

use super::is_named;
use crate::support::fleet::Fleet;
use crate::support::{APP, STEP_TIMEOUT, eventually, light_instances, run_flow};

/// What goes wrong, the hop and the fault.
pub(super) const ROWS: [(&str, &str, &str); 3] = [
    ("clock off by an hour", "owner", "clock_off"),
    ("agent drained", "owner", "agent_drained"),
    ("agent killed", "owner", "agent_gone"),
];

/// Creates a session that runs, and returns it with its agent.
async fn running(fleet: &Fleet, key: &str) -> anyhow::Result<(String, String)> {
    let created = fleet.http.create_with_key(APP, key).await?.success()?;
    let id = created["id"].as_str().context("an id")?.to_owned();
    let owner = eventually("active", async || {
        let documents = fleet.documents().await?;
        let mut active = documents.into_iter().filter(|one| one.status == Status::Active);
        Ok(active.find(|one| one.id.as_str() == id).and_then(|one| one.owner))
    });
    let owner = owner.await?;
    Ok((id, owner.to_string()))
}

#[test]
fn what_becomes_of_agents_is_named() {
    run_flow(async || {
        let agent = toml! {
            agent.lease_s = 2
            agent.sweep_s = 1
        };
        let options = Options { launcher: light_instances(), agent, ..Options::default() };
        let mut fleet = Fleet::start(options, 2, 1).await?;
        let operator = Client::new(fleet.gateways[0].socket());
        let [clock, drained, killed] = ROWS;

        let (id, owner) = running(&fleet, "drained").await?;
        let unit = fleet.agent(&owner)?;
        let mut drain = Command::new(env!("CARGO_BIN_EXE_stream-agent"));
        drain
            .args(["drain", "--deadline", "30s", "--socket"])
            .arg(unit.socket())
            .kill_on_drop(true);
        let output = tokio::time::timeout(STEP_TIMEOUT, drain.output()).await??;
        ensure!(output.status.success(), "{output:?}");
        is_named(&operator, &id, drained).await?;
        let unit = fleet.agent(&owner)?;
        unit.ends_well().await?;
        unit.restart().await?;
        fleet.all_present().await?;

        let (id, owner) = running(&fleet, "killed").await?;
        fleet.agent(&owner)?.process.kill();
        let taken = async || {
            let documents = fleet.documents().await?;
            let now = documents.into_iter().find(|one| one.id.as_str() == id);
            let other = now.and_then(|one| one.owner).filter(|now| now.as_str() != owner);
            Ok(other.map(drop))
        };
        eventually("taken over", taken).await?;
        is_named(&operator, &id, killed).await?;

        for unit in &mut fleet.agents {
            unit.replace_ahead("+3600s").await?;
        }
        fleet.all_present().await?;
        let (id, _) = running(&fleet, "clock").await?;
        is_named(&operator, &id, clock).await?;
        Ok(())
    });
}
