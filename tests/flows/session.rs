//! Request to reply: a session from the client's request to the last byte of its instance.

use std::time::Duration;

use crate::support::{APP, Http, STEP_TIMEOUT, ScriptedStack, becomes, eventually, run_flow};
use reqwest::Method;
use serde_json::json;
use stream_dev::in_process::{Options, Stack};
use stream_protocol::Screen;
use stream_simulators::client::{Milestone, Viewer};

#[test]
fn a_session_shows_the_picture_of_its_instance_answers_a_tap_and_goes_away() {
    run_flow(async || shown_and_gone(Options::default()).await);
}

pub(crate) async fn shown_and_gone(options: Options) -> anyhow::Result<()> {
    let stack = Stack::start(options).await?;
    let client = stack.client()?;
    let created = client.create(APP, Screen::default()).await?;
    assert!(created.url.starts_with("wss://"), "{}", created.url);

    let viewer = Viewer::connect(&created, vec![stack.nodes.gateway_pin()?]).await?;
    viewer.wait_frames(1, STEP_TIMEOUT).await?;
    let first = viewer.frame().expect("a picture").digest();
    viewer.wait_frames(60, STEP_TIMEOUT).await?;
    assert_ne!(viewer.frame().expect("a picture").digest(), first, "the picture moves");
    viewer.wait_event(Milestone::Audio, STEP_TIMEOUT).await?;

    viewer.tap(320.0, 180.0, STEP_TIMEOUT).await?;
    viewer.wait_mark(320, 180, STEP_TIMEOUT).await?;

    let session = client.get(&created.id).await?;
    assert_eq!(session.status, "active");
    let [instance] = stack.ams.instances().try_into().expect("one instance");
    assert!(instance.tags.contains(&format!("session={}", created.id)));
    assert!(instance.tags.contains(&"deployment=dev".to_owned()));
    assert_eq!(instance.name, format!("s-{}-1", created.id));

    viewer.disconnect().await;
    client.delete(&created.id).await?;
    stack.ams.wait_until(|instances| instances.is_empty(), STEP_TIMEOUT).await?;
    eventually("terminated", async || {
        Ok((client.get(&created.id).await?.status == "terminated").then_some(()))
    })
    .await?;
    stack.stop().await;
    Ok(())
}

#[test]
fn a_client_that_joins_replaces_the_one_before() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let client = stack.client()?;
        let pins = vec![stack.nodes.gateway_pin()?];
        let created = client.create(APP, Screen::default()).await?;
        let first = Viewer::connect(&created, pins.clone()).await?;
        first.wait_frames(5, STEP_TIMEOUT).await?;

        let joined = client.join(&created.id).await?;
        assert_eq!(joined.id, created.id);
        assert_ne!(joined.url, created.url);
        let second = Viewer::connect(&joined, pins).await?;
        second.wait_frames(30, STEP_TIMEOUT).await?;
        second.tap(100.0, 100.0, STEP_TIMEOUT).await?;
        second.wait_mark(100, 100, STEP_TIMEOUT).await?;
        Ok(())
    });
}

#[test]
fn the_answer_does_not_wait_for_the_boot_and_only_the_instance_makes_it_active() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        assert_eq!(scripted.client.get(&created.id).await?.status, "created");
        let early = scripted.client.join(&created.id).await.expect_err("not active yet");
        assert_eq!(early.status(), Some(400));

        assert_eq!(instance.report("running").await?.status, 200);
        becomes(&scripted.client, &created.id, "active").await?;
        scripted.client.join(&created.id).await?;
        let commands = instance.commands(0, 0).await?;
        assert_eq!(commands["generation"], 1);
        assert_eq!(commands["signaling"], "open");
        Ok(())
    });
}

#[test]
fn an_instance_that_fails_ends_its_session_with_the_cause() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        let body = json!({ "status": "error", "message": "no graphics" });
        let answer = instance.http.send(Method::PATCH, &instance.path(""), Some(body)).await?;
        assert_eq!(answer.status, 200);
        let session = eventually("error", async || {
            let session = scripted.client.get(&created.id).await?;
            Ok((session.status == "error").then_some(session))
        })
        .await?;
        let why = "the instance failed: no graphics, may be started again until 20";
        assert!(session.status_message.starts_with(why), "{session:?}");
        Ok(())
    });
}

#[test]
fn an_instance_that_vanishes_ends_its_session() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        assert_eq!(instance.report("running").await?.status, 200);
        // Behind the agent's back, as an operator of AMS might.
        scripted.stack.ams.lose(&format!("s-{}-1", created.id));
        let session = eventually("over", async || {
            let session = scripted.client.get(&created.id).await?;
            Ok((session.status == "error").then_some(session))
        })
        .await?;
        assert_eq!(session.status_message, "the instance has disappeared");
        Ok(())
    });
}

#[test]
fn a_repeated_request_with_the_same_key_makes_one_session() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let stack = &scripted.stack;
        let http =
            Http::new(&stack.nodes.gateway_url(), Some(&stack.token), stack.nodes.gateway_pin()?)?;
        let mut ids = Vec::new();
        for _ in 0..2 {
            let answer = http.create_with_key(APP, "the-same-key").await?;
            assert_eq!(answer.status, 201);
            ids.push(answer.body["metadata"]["id"].clone());
        }
        assert_eq!(ids[0], ids[1]);
        assert_eq!(stack.ams.instances().len(), 1);
        let other = http.create_with_key(APP, "another-key").await?;
        assert_ne!(other.body["metadata"]["id"], ids[0]);
        Ok(())
    });
}

#[test]
fn lists_tell_what_there_is() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, _instance) = scripted.create().await?;
        let stack = &scripted.stack;
        let http =
            Http::new(&stack.nodes.gateway_url(), Some(&stack.token), stack.nodes.gateway_pin()?)?;
        let metadata = async |path: &str| http.get(path).await?.success();
        assert_eq!(metadata("/1.0/applications").await?, json!([{ "name": APP }]));
        // Clients put a slash at the end as they like.
        assert_eq!(metadata("/1.0/applications/").await?, json!([{ "name": APP }]));
        assert_eq!(metadata("/1.0/regions").await?, json!([{ "name": "cloud-0" }]));
        assert_eq!(metadata("/1.0/sessions").await?, json!([created.id]));
        let sessions = metadata("/1.0/sessions?recursion=true").await?;
        assert_eq!(sessions.as_array().map(Vec::len), Some(1));
        assert_eq!(sessions[0]["app"], APP);
        assert_eq!(sessions[0]["status"], "created");
        assert_eq!(metadata("/1.0/sessions?status=active").await?, json!([]));
        let status = metadata("/1.0/status").await?;
        assert_eq!((&status["status"], &status["agents"]), (&json!("healthy"), &json!(1)));
        let reduced = http.with(None).get("/1.0/status").await?.success()?;
        assert_eq!(reduced, json!({ "status": "healthy" }));
        Ok(())
    });
}

#[test]
fn an_agent_that_starts_again_takes_up_its_sessions() {
    run_flow(async || taken_up(Options::default()).await);
}

pub(crate) async fn taken_up(options: Options) -> anyhow::Result<()> {
    let mut scripted = ScriptedStack::start_with(options).await?;
    let (created, instance) = scripted.create().await?;
    assert_eq!(instance.report("running").await?.status, 200);
    scripted.stack.restart_agent().await?;
    // A request to the owner reaches it again.
    eventually("joinable", async || match scripted.client.join(&created.id).await {
        Ok(joined) => Ok(Some(joined)),
        Err(error) if error.status() == Some(503) => Ok(None),
        Err(error) => Err(error.into()),
    })
    .await?;
    // It may take a moment longer until it can check tokens.
    let asked = async || Ok(instance.commands(0, 0).await.ok());
    let commands = eventually("answered", asked).await?;
    assert!(commands["generation"].as_u64().is_some_and(|generation| generation >= 1));
    scripted.client.delete(&created.id).await?;
    scripted.stack.ams.wait_until(|instances| instances.is_empty(), STEP_TIMEOUT).await?;
    Ok(())
}

#[test]
fn nats_may_go_and_come_back_and_the_picture_stays() {
    run_flow(async || {
        let mut stack = Stack::start(Options::default()).await?;
        let client = stack.client()?;
        let created = client.create(APP, Screen::default()).await?;
        let viewer = Viewer::connect(&created, vec![stack.nodes.gateway_pin()?]).await?;
        viewer.wait_frames(10, STEP_TIMEOUT).await?;

        stack.nats.kill();
        eventually("away", async || {
            let answer = client.get(&created.id).await;
            Ok(answer.is_err_and(|error| error.status() == Some(503)).then_some(()))
        })
        .await?;
        let before = viewer.frames();
        viewer.wait_frames(before + 30, Duration::from_secs(5)).await?;
        let live = Http::new(&stack.nodes.agent_url(), None, stack.nodes.agent_pin()?)?;
        assert_eq!(live.get("/1.0/health/live").await?.status, 200);
        assert_eq!(live.get("/1.0/health/ready").await?.status, 503);

        stack.nats.restart()?;
        eventually("back", async || Ok(client.get(&created.id).await.ok())).await?;
        becomes(&client, &created.id, "active").await?;
        eventually("able to launch", async || Ok(client.create(APP, Screen::default()).await.ok()))
            .await?;
        Ok(())
    });
}
