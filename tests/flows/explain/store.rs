//! A NATS that is cut off, and one without room.

use anyhow::Context;
use futures_util::FutureExt;
use serde_json::json;
use stream_bridge::{Bridge, BridgeError};
use stream_dev::in_process::Options;
use stream_protocol::subjects::Bucket;
use stream_supervisor::Supervisor;

use super::{Row, Stage, play, row};
use crate::nats::change_signals;
use crate::support::eventually;

/// Far beyond the room of the server, in records of 40 KB.
const MANY: usize = 400;

pub(super) const ROWS: &[Row] = &[
    row("NATS cut", "nats", "nats_cut", |stage| cut(stage).boxed_local()),
    row("disk full at NATS", "nats", "nats_full", |stage| full(stage).boxed_local()),
];

#[test]
fn what_nats_does_to_sessions_is_named() {
    play(Options::default(), ROWS);
}

async fn cut(stage: &mut Stage) -> anyhow::Result<String> {
    let (session, instance) = stage.running().await?;
    stage.kept.push(Box::new(instance));
    stage.scripted.stack.nats.kill();
    eventually("away", async || {
        let path = format!("/1.0/sessions/{}/ice", session.id);
        Ok((stage.account.get("/1.0/status").await?.status == 503).then_some(path))
    })
    .await?;
    stage.scripted.stack.nats.restart()?;
    eventually("back", async || {
        Ok(stage.operator.explain_session(&session.id).await.ok().map(drop))
    })
    .await?;
    Ok(session.id)
}

async fn full(stage: &mut Stage) -> anyhow::Result<String> {
    let (session, instance) = stage.running().await?;
    stage.kept.push(Box::new(instance));
    let nats = &mut stage.scripted.stack.nats;
    // The log reserves next to nothing, as an operator may have it.
    change_signals(nats, |config| config.max_bytes = 1 << 20).await?;
    nats.edit("max_file_store: 4GB", "max_file_store: 4MB")?;
    nats.restart()?;
    let bridge = Bridge::start(nats.bridge(), "test", &Supervisor::default())?;
    eventually("back", async || Ok(bridge.status().await.connected.then_some(()))).await?;
    let (record, mut numbers) = (json!({ "text": "x".repeat(40_000) }), 0..MANY);
    // It may be away for another moment.
    eventually("full", async || {
        let number = numbers.next().context("it holds far more than it has room for")?;
        let put = bridge.put(Bucket::Sessions, &format!("record{number}"), &record).await;
        Ok(matches!(put, Err(BridgeError::StoreRefused(_))).then_some(()))
    })
    .await?;
    // The gateway learns it by the next thing that it would store, and may be away just then.
    eventually("learned", async || {
        stage.account.create_with_key(crate::support::APP, "more").await?;
        let story = stage.operator.explain_session(&session.id).await.ok();
        Ok(story.filter(|story| story.verdict.fault.as_deref() == Some("nats_full")))
    })
    .await?;
    Ok(session.id)
}
