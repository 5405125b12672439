//! Units whose clocks are wrong.

use std::time::Duration;

use crate::support::fleet::{Fleet, Unit};
use crate::support::socket::Socket;
use crate::support::{APP, eventually, light_instances, run_flow};
use anyhow::{Context, ensure};
use reqwest::Method;
use stream_dev::in_process::Options;
use stream_gateway::admin::Client;
use stream_protocol::subjects::Bucket;
use stream_protocol::{Request, SessionDocument, SessionId, Status};

#[test]
fn an_agent_whose_clock_is_ahead_ends_nothing_before_its_time() {
    run_flow(async || {
        let options = Options { launcher: light_instances(), ..Options::default() };
        let mut fleet = Fleet::start(options, 1, 1).await?;
        fleet.agents[0].replace_ahead("+120s").await?;
        fleet.all_present().await?;
        // Two sessions that no agent has claimed: for one it is too late, the other has its time.
        let store = async |deadline| {
            let id = SessionId::random();
            let now = fleet.bridge.now();
            let document = SessionDocument::new(id.clone(), Request::for_app("a"), now, deadline);
            fleet.bridge.create(Bucket::Sessions, id.as_str(), &document).await?;
            anyhow::Ok(id)
        };
        let now = fleet.bridge.now();
        let in_time = store(now + Duration::from_secs(60)).await?;
        let late = store(now - Duration::from_secs(1)).await?;
        let status = async |id: &SessionId| {
            let read = fleet.bridge.read::<SessionDocument>(Bucket::Sessions, id.as_str()).await?;
            anyhow::Ok(read.map(|entry| entry.value.status))
        };
        // A sweep looks at both.
        eventually("ended", async || {
            Ok((status(&late).await? == Some(Status::Error)).then_some(()))
        })
        .await?;
        assert_eq!(status(&in_time).await?, Some(Status::Created));

        // A session runs as it should, and the operator is told.
        let created = fleet.http.create_with_key(APP, "a").await?.success()?;
        let path = format!("/1.0/sessions/{}", created["id"].as_str().unwrap_or_default());
        eventually("active", async || {
            let view = fleet.http.send(Method::GET, &path, None).await?.success()?;
            Ok((view["status"] == "active").then_some(()))
        })
        .await?;
        let log = std::fs::read_to_string(fleet.agents[0].process.log())?;
        ensure!(log.contains("the clock is wrong"), "{log}");
        Ok(())
    });
}

/// Checks that what runs goes on, and that whoever comes gets in: a session that runs stays, with
/// its instance; another one is created, runs, and is joined by who has a token of a few minutes.
async fn serves(fleet: &Fleet, what: &str) -> anyhow::Result<()> {
    let before = fleet.stack.ams.instances().len();
    let known = fleet.documents().await?;
    let key = format!("key of {what}").replace([' ', ','], "-").replace('+', "plus-");
    let created = fleet.http.create_with_key(APP, &key).await?;
    let created = created.success().with_context(|| format!("{what}: not created"))?;
    let path = format!("/1.0/sessions/{}", created["id"].as_str().unwrap_or_default());
    eventually("active", async || {
        let view = fleet.http.get(&path).await?.success()?;
        Ok((view["status"] == "active").then_some(()))
    })
    .await
    .with_context(|| what.to_owned())?;
    let joined = fleet.http.send(Method::POST, &format!("{path}/join"), None).await?;
    let joined = joined.success().with_context(|| format!("{what}: not joined"))?;
    let url = joined["url"].as_str().context("a socket")?;
    let socket = Socket::open_url(url, &fleet.stack).await;
    socket.with_context(|| format!("{what}: the socket is refused"))?.close().await?;
    for document in known {
        let now = fleet.documents().await?.into_iter().find(|one| one.id == document.id);
        let status = now.map(|one| (one.status, one.causes));
        ensure!(matches!(status, Some((Status::Active, _))), "{what}: {status:?}");
    }
    let after = fleet.stack.ams.instances().len();
    ensure!(after == before + 1, "{what}: {before} instances before, {after} after");
    Ok(())
}

/// Waits until a unit that was killed takes sessions again.
async fn is_back(fleet: &Fleet, key: &str) -> anyhow::Result<()> {
    fleet.all_present().await?;
    let id = eventually("back", async || {
        let answer =
            fleet.http.create_with_key(APP, &format!("back{key}").replace('+', "plus-")).await?;
        ensure!(answer.status.is_success() || answer.status == 503, "{answer:?}");
        Ok(answer.body["metadata"]["id"].as_str().map(str::to_owned))
    })
    .await?;
    eventually("active", async || {
        let view = fleet.http.get(&format!("/1.0/sessions/{id}")).await?.success()?;
        Ok((view["status"] == "active").then_some(()))
    })
    .await
}

/// Has the clock of a unit jump an hour ahead and an hour back while it runs, and has it begin with
/// a clock that is wrong from the start, the one that measures pauses included.
async fn goes_on_with_any_clock(
    name: &str,
    unit: impl Fn(&mut Fleet) -> &mut Unit,
) -> anyhow::Result<()> {
    let options = Options { launcher: light_instances(), ..Options::default() };
    let mut fleet = Fleet::start(options, 1, 1).await?;
    // An account that has half an hour: with the clock of the unit it would have ended.
    let until = fleet.bridge.now() + Duration::from_secs(1800);
    let operator = Client::new(fleet.gateways[0].socket());
    let token = operator.create_account("brief", Some(until), Default::default()).await?;
    fleet.http = fleet.http.with(Some(&token));
    serves(&fleet, &format!("{name} in time")).await?;
    let clock = unit(&mut fleet).nodes.dir.join("clock");
    std::fs::write(&clock, "+0")?;
    unit(&mut fleet).replace_with_clock_of(&clock).await?;
    is_back(&fleet, "jumping").await?;
    for (number, now) in ["+3600", "+0", "-3600", "+0"].into_iter().enumerate() {
        std::fs::write(&clock, now)?;
        fleet.all_present().await?;
        serves(&fleet, &format!("{name} jumps, {number}, to {now}")).await?;
    }
    for ahead in ["+3600s", "-3600s"] {
        unit(&mut fleet).replace_all_ahead(ahead).await?;
        is_back(&fleet, ahead).await?;
        serves(&fleet, &format!("{name} begins at {ahead}")).await?;
    }
    Ok(())
}

#[test]
fn an_agent_whose_clock_jumps_ends_deletes_and_refuses_nothing() {
    run_flow(async || goes_on_with_any_clock("agent", |fleet| &mut fleet.agents[0]).await);
}

#[test]
fn a_gateway_whose_clock_jumps_ends_deletes_and_refuses_nothing() {
    run_flow(async || goes_on_with_any_clock("gateway", |fleet| &mut fleet.gateways[0]).await);
}
