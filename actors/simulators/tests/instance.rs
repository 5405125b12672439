//! Instance and viewer against their APIs over real HTTPS and WebSocket; the test plays the
//! services in between.

mod harness;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::Harness;
use stream_pki::Fingerprint;
use stream_protocol::{DesiredState, ReportedStatus, Signaling};
use stream_simulators::client::{Milestone, SocketError, Viewer, ViewerError};
use stream_simulators::instance::{self, Behaviour};
use tokio::sync::watch;
use tokio::time::timeout;

/// Far more than anything here takes; only a failure waits for it.
const SOON: Duration = Duration::from_secs(60);

#[actix_web::test]
async fn an_instance_streams_to_one_client_after_the_other_until_its_session_is_over() -> Result<()>
{
    let harness = Harness::start()?;
    let (_stop, stopped) = watch::channel(false);
    let clients = async {
        let first = Viewer::connect(&harness.created(), harness.pins()).await?;
        first.wait_frames(10, SOON).await?;
        first.tap(100.0, 300.0, SOON).await?;
        first.wait_mark(100, 300, SOON).await?;
        ensure!(harness.reports() == [ReportedStatus::Running], "reported once");
        ensure!(harness.ice_requests() == 1);

        harness.command(|commands| commands.generation = 2);
        first.wait_event(Milestone::Closed, SOON).await?;
        let second = Viewer::connect(&harness.created(), harness.pins()).await?;
        second.wait_frames(5, SOON).await?;

        harness.command(|commands| commands.signaling = Signaling::Closed);
        let seen = second.frames();
        second.wait_frames(seen + 10, SOON).await.context("media without signaling")?;
        harness.command(|commands| commands.desired = DesiredState::Terminated);
        second.wait_event(Milestone::Closed, SOON).await?;
        anyhow::Ok(())
    };
    let instance = instance::run(harness.userdata(), Behaviour::default(), stopped);
    let (clients, instance) = timeout(SOON, async { tokio::join!(clients, instance) }).await?;
    clients?;
    Ok(instance?)
}

#[actix_web::test]
async fn an_agent_that_is_busy_costs_time_and_no_signal() -> Result<()> {
    let harness = Harness::start()?;
    // Every call is refused at first, and every write is acknowledged only the second time.
    harness.refuse_first_calls();
    let (stop, stopped) = watch::channel(false);
    let client = async {
        let viewer = Viewer::connect(&harness.created(), harness.pins()).await?;
        viewer.wait_frames(5, SOON).await?;
        stop.send(true)?;
        anyhow::Ok(())
    };
    let instance = instance::run(harness.userdata(), Behaviour::default(), stopped);
    let (client, instance) = timeout(SOON, async { tokio::join!(client, instance) }).await?;
    client?;
    instance?;
    ensure!(harness.repeated_writes() > 0, "a write that was not acknowledged is repeated");
    ensure!(harness.told_client("offer") == 1, "and stored once");
    Ok(())
}

#[actix_web::test]
async fn history_that_is_gone_is_read_from_the_start_without_repeating_anything() -> Result<()> {
    let harness = Harness::start()?;
    harness.forget_cursors();
    let (stop, stopped) = watch::channel(false);
    let client = async {
        let viewer = Viewer::connect(&harness.created(), harness.pins()).await?;
        viewer.wait_frames(5, SOON).await?;
        stop.send(true)?;
        anyhow::Ok(())
    };
    let instance = instance::run(harness.userdata(), Behaviour::default(), stopped);
    let (client, instance) = timeout(SOON, async { tokio::join!(client, instance) }).await?;
    client?;
    instance?;
    ensure!(harness.forgotten() > 0, "a cursor was refused");
    ensure!(harness.told_client("offer") == 1, "settings are acted upon once");
    Ok(())
}

#[actix_web::test]
async fn a_viewer_refuses_a_server_with_another_certificate() -> Result<()> {
    let harness = Harness::start()?;
    let refused = Viewer::connect(&harness.created(), vec![Fingerprint([7; 32])]).await;
    ensure!(matches!(refused, Err(ViewerError::Socket(SocketError::Connect(_)))));

    let mut elsewhere = harness.created();
    elsewhere.url = elsewhere.url.replace("master", "nowhere");
    let refused = Viewer::connect(&elsewhere, harness.pins()).await;
    ensure!(matches!(refused, Err(ViewerError::Socket(SocketError::Refused(404)))));
    Ok(())
}
