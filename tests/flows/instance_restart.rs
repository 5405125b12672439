//! An instance that stops or fails, and is started again, goes on in its session.

use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use stream_dev::in_process::{Options, Stack};
use stream_protocol::{Screen, Timestamp, TokenKind};
use stream_simulators::ams::Faults;
use stream_simulators::client::{Session, Viewer};
use stream_tokens::Mint;
use tokio::sync::watch;
use toml::toml;

use crate::support::socket::Socket;
use crate::support::{
    APP, Http, Instance, STEP_TIMEOUT, ScriptedStack, becomes, eventually, run_flow, user_of_ams,
};

/// A stack whose instances the test plays, starts and stops.
struct Restarts {
    scripted: ScriptedStack,
    /// Somebody who has AMS do so.
    user: reqwest::Client,
    /// The token that an operator gave to AMS.
    token: String,
}

impl Restarts {
    async fn start(options: Options) -> anyhow::Result<Self> {
        let scripted = ScriptedStack::start_with(options).await?;
        let user = user_of_ams(&scripted.stack)?;
        let token = ams_token(&scripted.stack).await?;
        Ok(Self { scripted, user, token })
    }

    /// Has AMS launch an instance that streams; returns it once it runs and its session is active.
    async fn launch_at_ams(&mut self) -> anyhow::Result<Instance> {
        launch_at_ams(&self.scripted.stack, &self.user, &self.token).await?;
        let instance = self.scripted.booted().await?;
        self.runs(&instance).await?;
        Ok(instance)
    }

    /// Waits until AMS has so many instances.
    async fn left(&self, count: usize) -> anyhow::Result<()> {
        let left = |all: &[_]| all.len() == count;
        self.scripted.stack.ams.wait_until(left, STEP_TIMEOUT).await.map(drop).context("instances")
    }

    /// Has an instance say that it runs; returns its session, which is active.
    async fn runs(&self, instance: &Instance) -> anyhow::Result<Session> {
        instance.report("running").await?.success()?;
        self.becomes(instance.userdata.session_id.as_str(), "active").await
    }

    async fn becomes(&self, session: &str, status: &str) -> anyhow::Result<Session> {
        becomes(&self.scripted.client, session, status).await
    }

    /// Has AMS start or stop the instance of `session`.
    async fn order(&self, session: &Session, desired: &str) -> anyhow::Result<()> {
        order(&self.scripted.stack, &self.user, &session.container_id, desired).await
    }

    /// Has AMS ask for the session of an instance again; returns what the instance would boot with.
    async fn asks(&self, session: &Session) -> anyhow::Result<Instance> {
        let stack = &self.scripted.stack;
        let ams = Http::new(&stack.nodes.agent_url(), Some(&self.token), stack.nodes.agent_pin()?)?;
        let body = json!({ "instance_id": session.container_id, "app": APP });
        let opened = ams.send(Method::POST, "/1.0/sessions", Some(body)).await?.success()?;
        let userdata = opened["userdata"].as_str().context("userdata")?;
        Instance::told(userdata, watch::channel(false).1)
    }

    /// Joins the session and has a signal go each way.
    async fn signals(&self, session: &str, instance: &Instance) -> anyhow::Result<u64> {
        let joined = self.scripted.client.join(session).await?;
        let commands = instance.commands(0, 0).await?;
        ensure!(commands["signaling"] == "open", "{commands}");
        let generation = commands["generation"].as_u64().context("a generation")?;
        let mut socket = Socket::open(&joined, &self.scripted.stack).await?;
        let (asked, answer) = (json!({ "type": "discover" }), json!({ "type": "resp:discover" }));
        socket.send(&asked).await?;
        let (_, signals) = instance.read(None, 10).await?;
        ensure!(signals == [(generation, asked)], "{signals:?}");
        instance.write(&format!("a{generation}"), generation, answer.clone()).await?.success()?;
        ensure!(socket.next().await? == answer);
        Ok(generation)
    }
}

/// A token that an operator gives to AMS.
async fn ams_token(stack: &Stack) -> anyhow::Result<String> {
    let expires = Timestamp::now() + Duration::from_secs(600);
    let mint = Mint::new(TokenKind::Ams, "test").expires(expires);
    Ok(stack.agent.tokens.mint(mint).await?.token.to_string())
}

/// Has AMS launch an instance that streams, as one of its users would.
async fn launch_at_ams(stack: &Stack, user: &reqwest::Client, token: &str) -> anyhow::Result<()> {
    for (name, value) in [
        ("agent.api.url", stack.nodes.agent_url()),
        ("agent.api.fingerprint", stack.nodes.agent_pin()?.to_string()),
        ("agent.api.token", token.to_owned()),
    ] {
        stack.ams.configure(name, &value).map_err(anyhow::Error::msg)?;
    }
    let body = json!({ "app_id": APP, "config": { "enable_streaming": true } });
    let url = format!("{}/1.0/instances", stack.nodes.ams_url());
    ensure!(user.post(url).json(&body).send().await?.status().is_success());
    Ok(())
}

/// Has AMS start or stop an instance.
async fn order(
    stack: &Stack,
    user: &reqwest::Client,
    instance: &str,
    desired: &str,
) -> anyhow::Result<()> {
    let url = format!("{}/1.0/instances/{instance}", stack.nodes.ams_url());
    let answer = user.patch(url).json(&json!({ "desired_status": desired })).send().await?;
    ensure!(answer.status().is_success(), "{answer:?}");
    Ok(())
}

#[test]
fn the_picture_of_an_instance_of_ams_is_seen_again_after_a_restart() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let (client, user) = (stack.client()?, user_of_ams(&stack)?);
        launch_at_ams(&stack, &user, &ams_token(&stack).await?).await?;
        let id = eventually("listed", async || Ok(client.list().await?.pop())).await?;
        for _ in 0..2 {
            let active = eventually("active", async || {
                let session = client.get(&id).await?;
                Ok((session.status == "active").then_some(session))
            });
            let instance = active.await?.container_id;
            let joined = client.join(&id).await?;
            let viewer = Viewer::connect(&joined, vec![stack.nodes.gateway_pin()?]).await?;
            viewer.wait_frames(3, STEP_TIMEOUT).await?;
            order(&stack, &user, &instance, "stopped").await?;
            eventually("ended", async || {
                Ok((client.get(&id).await?.status == "terminated").then_some(()))
            })
            .await?;
            order(&stack, &user, &instance, "running").await?;
        }
        Ok(())
    });
}

#[test]
fn an_instance_of_ams_that_is_started_again_is_active_in_the_same_session() {
    run_flow(async || {
        let mut restarts = Restarts::start(Options::default()).await?;
        let first = restarts.launch_at_ams().await?;
        let id = first.userdata.session_id.to_string();
        let session = restarts.scripted.client.get(&id).await?;
        let generation = restarts.signals(&id, &first).await?;

        restarts.order(&session, "stopped").await?;
        let ended = restarts.becomes(&id, "terminated").await?;
        assert_eq!(ended.status_message, "the instance stopped");
        let stopped = first.http.get(&first.path("/commands")).await?;
        assert_eq!(stopped.status, 403, "its token opens the report only");
        restarts.order(&session, "running").await?;
        let second = restarts.scripted.booted().await?;
        assert_eq!(second.userdata, first.userdata, "it comes with what it has");
        let back = restarts.runs(&second).await?;
        assert_eq!(back.container_id, session.container_id);
        assert!(restarts.signals(&id, &second).await? > generation + 1, "the old client is over");
        Ok(())
    });
}

#[test]
fn an_instance_that_is_restarted_keeps_its_client_s_session_whether_ams_tells_or_not() {
    run_flow(async || {
        let mut restarts = Restarts::start(Options::default()).await?;
        for lost_event_every in [0, 1] {
            let faults = Faults { lost_event_every, ..Faults::default() };
            restarts.scripted.stack.ams.set_faults(faults);
            let (created, first) = restarts.scripted.create().await?;
            let session = restarts.runs(&first).await?;
            let mut socket = Socket::open(&created, &restarts.scripted.stack).await?;

            restarts.order(&session, "stopped").await?;
            let failed = restarts.becomes(&created.id, "error").await?;
            let told = "the instance stopped, may be started again until 20";
            assert!(failed.status_message.starts_with(told), "{failed:?}");
            let frame: Value = socket.next().await?;
            assert!(
                frame.to_string().contains("session has failed"),
                "its client is told: {frame}"
            );
            restarts.order(&session, "running").await?;
            let second = restarts.scripted.booted().await?;
            assert_eq!(second.userdata, first.userdata);
            restarts.runs(&second).await?;
            restarts.signals(&created.id, &second).await?;
        }
        Ok(())
    });
}

#[test]
fn ams_that_asks_again_gets_a_fresh_token_and_the_one_of_before_ends() {
    run_flow(async || {
        let mut restarts = Restarts::start(Options::default()).await?;
        let first = restarts.launch_at_ams().await?;
        let id = first.userdata.session_id.to_string();
        let session = restarts.scripted.client.get(&id).await?;
        assert_eq!(first.report("error").await?.status, 200);
        restarts.becomes(&id, "error").await?;

        let again = restarts.asks(&session).await?;
        assert_eq!(again.userdata.session_id, first.userdata.session_id);
        restarts.becomes(&id, "created").await?;
        assert_eq!(first.report("running").await?.status, 401, "its token has ended");
        let twice = restarts.asks(&session).await?;
        assert_eq!(twice.report("running").await?.status, 200, "asked again, it is the same");
        restarts.becomes(&id, "active").await?;
        restarts.signals(&id, &again).await?;
        Ok(())
    });
}

#[test]
fn a_kept_instance_goes_after_its_time_and_its_session_stays_an_error() {
    run_flow(async || {
        let agent = toml! { agent.restart_grace_s = 1 agent.failed_instance_s = 1 };
        let mut restarts = Restarts::start(Options { agent, ..Options::default() }).await?;
        let (created, instance) = restarts.scripted.create().await?;
        restarts.runs(&instance).await?;
        assert_eq!(instance.report("error").await?.status, 200);
        let failed = restarts.becomes(&created.id, "error").await?;
        assert_eq!(restarts.scripted.stack.ams.instances().len(), 1, "its logs can be read");
        restarts.left(0).await?;
        let session = restarts.scripted.client.get(&created.id).await?;
        assert_eq!(
            (session.status, session.status_message),
            (failed.status, failed.status_message)
        );
        eventually("revoked", async || {
            Ok((instance.report("running").await?.status == 401).then_some(()))
        })
        .await
    });
}

#[test]
fn whoever_deletes_a_session_that_failed_has_its_instance_go_at_once() {
    run_flow(async || {
        let mut restarts = Restarts::start(Options::default()).await?;
        let (created, instance) = restarts.scripted.create().await?;
        restarts.runs(&instance).await?;
        assert_eq!(instance.report("error").await?.status, 200);
        restarts.becomes(&created.id, "error").await?;
        let listed = restarts.scripted.client.list().await?;
        assert_eq!(listed, std::slice::from_ref(&created.id));
        restarts.scripted.client.delete(&created.id).await?;
        restarts.left(0).await?;
        restarts.becomes(&created.id, "terminated").await?;
        assert_eq!(instance.report("running").await?.status, 401);
        Ok(())
    });
}

#[test]
fn the_eleventh_kept_instance_has_the_oldest_go_and_none_of_them_takes_a_place() {
    run_flow(async || {
        // One place: each session that has failed makes way for the next one.
        let agent = toml! { agent.capacity = 1 };
        let mut restarts = Restarts::start(Options { agent, ..Options::default() }).await?;
        let mut sessions = Vec::new();
        for _ in 0..11 {
            let (created, instance) = eventually("placed", async || {
                let created = restarts.scripted.client.create(APP, Screen::default()).await.ok();
                let Some(created) = created else { return Ok(None) };
                Ok(Some((created, restarts.scripted.booted().await?)))
            })
            .await?;
            assert_eq!(instance.report("error").await?.status, 200);
            sessions.push(restarts.becomes(&created.id, "error").await?);
            // Which of them is the oldest is known by the second.
            let failed = Timestamp::now();
            if sessions.len() == 1 {
                let later = async || Ok((Timestamp::now() > failed).then_some(()));
                eventually("a second later", later).await?;
            }
        }
        let oldest = &sessions[0].container_id;
        let gone = |all: &[stream_simulators::ams::Instance]| {
            all.len() == 10 && all.iter().all(|one| one.id != *oldest)
        };
        restarts.scripted.stack.ams.wait_until(gone, STEP_TIMEOUT).await?;
        Ok(())
    });
}

#[test]
fn kept_instances_give_way_to_a_launch_for_which_ams_has_no_room() {
    run_flow(async || {
        let options = Options { capacity: 1, ..Options::default() };
        let mut restarts = Restarts::start(options).await?;
        let (failed, first) = restarts.scripted.create().await?;
        assert_eq!(first.report("error").await?.status, 200);
        restarts.becomes(&failed.id, "error").await?;
        let (created, second) = restarts.scripted.create().await?;
        restarts.runs(&second).await?;
        let session = restarts.scripted.client.get(&created.id).await?;
        restarts.left(1).await?;
        let left = restarts.scripted.stack.ams.instances().remove(0);
        assert_eq!((left.id, left.name), (session.container_id, format!("s-{}-2", created.id)));
        assert_eq!(first.report("running").await?.status, 401, "it has given way");
        Ok(())
    });
}

#[test]
fn an_instance_comes_back_at_whichever_agent_it_reports_to() {
    run_flow(async || {
        let mut restarts = Restarts::start(Options::default()).await?;
        let (created, mut instance) = restarts.scripted.create().await?;
        restarts.runs(&instance).await?;
        assert_eq!(instance.report("error").await?.status, 200);
        restarts.becomes(&created.id, "error").await?;

        let (nodes, second) = restarts.scripted.stack.another_agent("two")?;
        let there = Http::new(&nodes.agent_url(), None, nodes.agent_pin()?)?;
        let ready =
            async || Ok((there.get("/1.0/health/ready").await?.status == 200).then_some(()));
        eventually("ready", ready).await?;
        restarts.scripted.stack.agent.stop().await;
        instance.http = there.with(Some(&instance.userdata.token));
        restarts.runs(&instance).await?;
        // Nobody waits for the lease of the first one.
        restarts.signals(&created.id, &instance).await?;
        second.stop().await;
        Ok(())
    });
}
