//! Faults between the agent and AMS.

use futures_util::FutureExt;
use serde_json::json;
use stream_dev::in_process::Options;
use stream_simulators::ams::Faults;
use toml::toml;

use super::{Row, Stage, play, row};

pub(super) const ROWS: &[Row] = &[
    row("image missing", "launch", "image_missing", |stage| image_missing(stage).boxed_local()),
    row("AMS away", "launch", "ams_away", |stage| ams_away(stage).boxed_local()),
];

pub(super) const FULL: &[Row] =
    &[row("AMS full", "launch", "ams_full", |stage| ams_full(stage).boxed_local())];

#[test]
fn what_keeps_ams_from_launching_is_named() {
    let agent = toml! { ams.timeout_s = 1 };
    play(Options { agent, ..Options::default() }, ROWS);
}

#[test]
fn an_ams_without_room_is_named() {
    let agent = toml! { agent.failed_instance_s = 0 };
    play(Options { capacity: 1, agent, ..Options::default() }, FULL);
}

async fn image_missing(stage: &mut Stage) -> anyhow::Result<String> {
    stage.refused("a-version-that-nobody-has", json!({ "app_version": 9 })).await
}

/// AMS answers no more from the moment on in which a session is asked for: its agent learns it by
/// the launch.
async fn ams_away(stage: &mut Stage) -> anyhow::Result<String> {
    stage.scripted.stack.ams.set_faults(Faults { hang_every: 1, ..Faults::default() });
    stage.refused("while-ams-is-away", json!({})).await
}

async fn ams_full(stage: &mut Stage) -> anyhow::Result<String> {
    let first = stage.running().await?;
    stage.kept.push(Box::new(first));
    // It is accepted, and finds no place then.
    Ok(stage.scripted.client.create_from(&json!({ "app": crate::support::APP })).await?.id)
}
