//! Faults of relays and of the credentials for them.

use anyhow::{Context, ensure};
use futures_util::FutureExt;
use serde_json::json;
use stream_dev::in_process::Options;
use toml::toml;

use super::{Row, Stage, play, row};
use crate::support::socket::Socket;

pub(super) const ROWS: &[Row] = &[
    row("credential expired", "ice", "credential_expired", |stage| expired(stage).boxed_local()),
    row("relay secret wrong", "ice", "relay_secret_wrong", |stage| secret(stage).boxed_local()),
    row("relay dead", "ice", "relay_dead", |stage| dead(stage).boxed_local()),
];

#[test]
fn what_keeps_a_stream_from_its_relay_is_named() {
    let agent = toml! {
        turn.lifetime_s = 10
        turn.probe_s = 1
    };
    play(Options { coturn: true, agent, ..Options::default() }, ROWS);
}

/// A session whose client and instance have agreed, and find no way to each other.
async fn agreed(stage: &mut Stage) -> anyhow::Result<String> {
    let (session, instance) = stage.running().await?;
    let mut socket = Socket::open(&session, &stage.scripted.stack).await?;
    instance.write("s-1", 0, json!({ "type": "offer", "sdp": "dg==" })).await?.success()?;
    ensure!(socket.next().await?["type"] == "offer");
    socket.send(&json!({ "type": "answer", "sdp": "dg==" })).await?;
    socket.close().await?;
    stage.kept.push(Box::new(instance));
    Ok(session.id)
}

/// A client that is gone for too long takes no fresh ones.
async fn expired(stage: &mut Stage) -> anyhow::Result<String> {
    agreed(stage).await
}

async fn secret(stage: &mut Stage) -> anyhow::Result<String> {
    let relay = stage.scripted.stack.coturn.as_mut().context("a relay")?;
    relay.restart(&["0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"])?;
    agreed(stage).await
}

async fn dead(stage: &mut Stage) -> anyhow::Result<String> {
    stage.scripted.stack.coturn.as_mut().context("a relay")?.process().kill();
    agreed(stage).await
}
