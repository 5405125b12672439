//! Faults between a client, its gateway and the instance.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::FutureExt;
use reqwest::Method;
use serde_json::{Value, json};
use stream_dev::in_process::Options;
use stream_protocol::Timestamp;
use toml::toml;

use super::{Row, Stage, play, row};
use crate::support::socket::Socket;
use crate::support::{APP, eventually};

pub(super) const ROWS: &[Row] = &[
    // It takes a while until a client is missed: what comes after that passes the time.
    row("idle end", "end", "idle_end", |stage| idle_end(stage).boxed_local()),
    row("no common codec", "answer", "no_common_codec", |stage| no_codec(stage).boxed_local()),
    row("token expired", "refusal", "token_expired", |stage| token_expired(stage).boxed_local()),
    row("token revoked", "socket", "token_revoked", |stage| token_revoked(stage).boxed_local()),
    row("wrong session", "refusal", "wrong_session", |stage| wrong_session(stage).boxed_local()),
    row("client replaced", "socket", "client_replaced", |stage| replaced(stage).boxed_local()),
    row("share ended", "socket", "share_ended", |stage| share_ended(stage).boxed_local()),
    row("signal refused", "socket", "signal_refused", |stage| refused(stage).boxed_local()),
    row("client left", "client", "client_left", |stage| left(stage).boxed_local()),
    row("viewer waits", "wait", "viewer_waits", |stage| waits(stage).boxed_local()),
    row("client lost", "socket", "client_lost", |stage| client_lost(stage).boxed_local()),
];

#[test]
fn what_becomes_of_clients_is_named() {
    let agent = toml! { agent.sweep_s = 1 };
    let gateway = toml! {
        gateway.client_grace_s = 0
        gateway.first_client_s = 1
    };
    play(Options { agent, gateway, ..Options::default() }, ROWS);
}

/// Nobody comes to a session that nobody else may join.
async fn idle_end(stage: &mut Stage) -> anyhow::Result<String> {
    let session = stage.scripted.client.create_from(&json!({ "app": APP })).await?;
    let instance = stage.scripted.booted().await?;
    instance.report("running").await?.success()?;
    stage.kept.push(Box::new(instance));
    Ok(session.id)
}

async fn no_codec(stage: &mut Stage) -> anyhow::Result<String> {
    let (session, instance) = stage.running().await?;
    let told = "no codec in common: the instance has H264, the client VP8";
    let signal = json!({ "type": "error", "code": 5, "message": told });
    instance.write("e-1", 0, signal).await?.success()?;
    stage.kept.push(Box::new(instance));
    Ok(session.id)
}

/// An account whose token has just ended joins.
async fn token_expired(stage: &mut Stage) -> anyhow::Result<String> {
    let (session, instance) = stage.running().await?;
    stage.kept.push(Box::new(instance));
    let until = Timestamp::now() + Duration::from_secs(1);
    let token = stage.operator.create_account("brief", Some(until), Default::default()).await?;
    let brief = stage.account.with(Some(&token));
    let join = format!("/1.0/sessions/{}/join", session.id);
    eventually("turned away", async || {
        let answer = brief.send(Method::POST, &join, None).await?;
        Ok((answer.status == 401).then_some(()))
    })
    .await?;
    Ok(session.id)
}

/// The account of a client is deleted while its socket is open.
async fn token_revoked(stage: &mut Stage) -> anyhow::Result<String> {
    let (session, instance) = stage.running().await?;
    stage.kept.push(Box::new(instance));
    let token = stage.operator.create_account("former", None, Default::default()).await?;
    let former = stage.account.with(Some(&token));
    let joined = join(&former, &session.id).await?;
    let socket = Socket::open_url(&joined, &stage.scripted.stack).await?;
    stage.operator.delete_account("former", false).await?;
    stage.kept.push(Box::new(socket));
    Ok(session.id)
}

/// The socket of one session is opened with the token of another.
async fn wrong_session(stage: &mut Stage) -> anyhow::Result<String> {
    let (one, instance) = stage.running().await?;
    stage.kept.push(Box::new(instance));
    let (other, instance) = stage.running().await?;
    stage.kept.push(Box::new(instance));
    let url = other.url.replace(&other.id, &one.id);
    ensure!(url != other.url && Socket::open_url(&url, &stage.scripted.stack).await.is_err());
    Ok(one.id)
}

async fn replaced(stage: &mut Stage) -> anyhow::Result<String> {
    let (session, instance) = stage.running().await?;
    stage.kept.push(Box::new(instance));
    let first = Socket::open(&session, &stage.scripted.stack).await?;
    stage.kept.push(Box::new(first));
    join(&stage.account, &session.id).await?;
    Ok(session.id)
}

async fn share_ended(stage: &mut Stage) -> anyhow::Result<String> {
    let (session, instance) = stage.running().await?;
    // Viewers wait for nobody who has left.
    for client in ["connected", "disconnected"] {
        let report = json!({ "client": client, "generation": 0 });
        instance.report_as(report).await?.success()?;
    }
    stage.kept.push(Box::new(instance));
    let path = format!("/1.0/sessions/{}/share", session.id);
    let share = stage
        .account
        .send(Method::POST, &path, Some(json!({ "type": "control" })))
        .await?
        .success()?;
    let (_, token) =
        share["url"].as_str().and_then(|url| url.split_once("&share=")).context("a token")?;
    let joined = join(&stage.account.with(Some(token)), &session.id).await?;
    let socket = Socket::open_url(&joined, &stage.scripted.stack).await?;
    stage.kept.push(Box::new(socket));
    stage.operator.delete_share(share["id"].as_str().context("an id")?).await?;
    Ok(session.id)
}

/// A client ends its stream, which nobody needs to look into.
async fn left(stage: &mut Stage) -> anyhow::Result<String> {
    let (session, instance) = stage.running().await?;
    for client in ["connected", "disconnected"] {
        let report = json!({ "client": client, "generation": 0 });
        instance.report_as(report).await?.success()?;
    }
    stage.kept.push(Box::new(instance));
    Ok(session.id)
}

/// Somebody wants to watch while the session is controlled.
async fn waits(stage: &mut Stage) -> anyhow::Result<String> {
    let (session, instance) = stage.running().await?;
    let report = json!({ "client": "connected", "generation": 0 });
    instance.report_as(report).await?.success()?;
    stage.kept.push(Box::new(instance));
    let path = format!("/1.0/sessions/{}/share", session.id);
    let share = Some(json!({ "type": "view" }));
    let share = stage.account.send(Method::POST, &path, share).await?.success()?;
    let (_, token) =
        share["url"].as_str().and_then(|url| url.split_once("&share=")).context("a token")?;
    let viewer = stage.account.with(Some(token));
    let path = format!("/1.0/sessions/{}/join", session.id);
    let refused = viewer.send(Method::POST, &path, None).await?;
    ensure!((refused.status.as_u16(), refused.retry_after) == (409, true), "{refused:?}");
    Ok(session.id)
}

/// A client says what is no signal.
async fn refused(stage: &mut Stage) -> anyhow::Result<String> {
    let (session, instance) = stage.running().await?;
    stage.kept.push(Box::new(instance));
    let mut socket = Socket::open(&session, &stage.scripted.stack).await?;
    socket.send(&Value::String("no object".to_owned())).await?;
    stage.kept.push(Box::new(socket));
    Ok(session.id)
}

/// A client whose machine is gone answers no ping.
async fn client_lost(stage: &mut Stage) -> anyhow::Result<String> {
    let (session, instance) = stage.running().await?;
    stage.kept.push(Box::new(instance));
    // Nobody reads from it.
    let socket = Socket::open(&session, &stage.scripted.stack).await?;
    stage.kept.push(Box::new(socket));
    Ok(session.id)
}

/// Joins and returns the URL of the socket.
async fn join(http: &crate::support::Http, session: &str) -> anyhow::Result<String> {
    let path = format!("/1.0/sessions/{session}/join");
    let joined = http.send(Method::POST, &path, None).await?.success()?;
    Ok(joined["url"].as_str().context("a socket")?.to_owned())
}
