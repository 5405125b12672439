//! Faults between the agent and AMS.

use futures_util::FutureExt;
use serde_json::json;
use stream_bridge::Bridge;
use stream_dev::in_process::Options;
use stream_protocol::Presence;
use stream_protocol::subjects::Bucket;
use stream_supervisor::Supervisor;
use toml::toml;

use super::{Row, Stage, play, row};
use crate::support::eventually;

pub(super) const ROWS: &[Row] = &[
    row("image missing", "launch", "image_missing", |stage| image_missing(stage).boxed_local()),
    row("AMS away", "place", "ams_away", |stage| ams_away(stage).boxed_local()),
];

pub(super) const FULL: &[Row] =
    &[row("AMS full", "launch", "ams_full", |stage| ams_full(stage).boxed_local())];

#[test]
fn what_keeps_ams_from_launching_is_named() {
    play(Options { ams_proxy: true, ..Options::default() }, ROWS);
}

#[test]
fn an_ams_without_room_is_named() {
    let agent = toml! { agent.failed_instance_s = 0 };
    play(Options { capacity: 1, agent, ..Options::default() }, FULL);
}

async fn image_missing(stage: &mut Stage) -> anyhow::Result<String> {
    stage.refused("a-version-that-nobody-has", json!({ "app_version": 9 })).await
}

/// Once its agent knows that AMS is away, it is asked for no session.
async fn ams_away(stage: &mut Stage) -> anyhow::Result<String> {
    let stack = &stage.scripted.stack;
    stack.ams_proxy.as_ref().expect("a proxy").sever();
    let bridge = Bridge::start(stack.nats.bridge(), "test", &Supervisor::default())?;
    eventually("told", async || {
        let present = bridge.list::<Presence>(Bucket::Agents).await.unwrap_or_default();
        Ok(present.iter().any(|(_, agent)| agent.value.unavailable.is_some()).then_some(()))
    })
    .await?;
    stage.refused("while-ams-is-away", json!({})).await
}

async fn ams_full(stage: &mut Stage) -> anyhow::Result<String> {
    let first = stage.running().await?;
    stage.kept.push(Box::new(first));
    // It is accepted, and finds no place then.
    Ok(stage.scripted.client.create_from(&json!({ "app": crate::support::APP })).await?.id)
}
