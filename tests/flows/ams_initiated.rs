//! Sessions of instances that AMS launched by itself: AMS asks an agent, the agent a gateway.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::socket::Socket;
use crate::support::{
    APP, Answer, Http, Instance, STEP_TIMEOUT, eventually, run_flow, user_of_ams,
};
use anyhow::Context;
use futures_util::future::try_join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stream_agent::agent::Agent;
use stream_bridge::Bridge;
use stream_dev::in_process::{Options, Stack};
use stream_dev::node_files::NodeFiles;
use stream_protocol::subjects::Bucket;
use stream_protocol::{SessionDocument, Timestamp, TokenKind};
use stream_simulators::ams::{Faults, idle_instances};
use stream_simulators::client::{Gateway, Session};
use stream_supervisor::Supervisor;
use stream_tokens::Mint;
use tokio::sync::watch;
use toml::toml;

/// A stack, and AMS as far as it asks for sessions.
struct InitiatingAms {
    stack: Stack,
    client: Gateway,
    /// The token that an operator gave to AMS.
    token: String,
}

impl InitiatingAms {
    async fn start() -> anyhow::Result<Self> {
        Self::start_with(Options::default()).await
    }

    async fn start_with(options: Options) -> anyhow::Result<Self> {
        let options = Options { launcher: idle_instances(), ..options };
        let stack = Stack::start(options).await?;
        let token = token(&stack.agent, TokenKind::Ams).await?;
        let client = stack.client()?;
        Ok(Self { stack, client, token })
    }

    /// AMS, as it speaks to the agent of `nodes`.
    fn asks(&self, nodes: &NodeFiles) -> anyhow::Result<Http> {
        Http::new(&nodes.agent_url(), Some(&self.token), nodes.agent_pin()?)
    }

    /// Has AMS launch an instance by itself; returns its id.
    fn launch(&self, name: &str) -> anyhow::Result<String> {
        self.stack.ams.plant(name, APP, Vec::new()).context("a launch")
    }

    /// Has AMS launch an instance and ask for its session; returns the instance's id and its end.
    async fn stream(&self, name: &str) -> anyhow::Result<(String, Instance)> {
        let instance = self.launch(name)?;
        let opened = open(&self.asks(&self.stack.nodes)?, &instance).await?.success()?;
        Ok((instance, told(&opened)?))
    }

    async fn session(&self, instance: &Instance) -> anyhow::Result<Session> {
        Ok(self.client.get(instance.userdata.session_id.as_str()).await?)
    }

    /// Waits until the session has `status`.
    async fn becomes(&self, instance: &Instance, status: &str) -> anyhow::Result<Session> {
        eventually(status, async || {
            let session = self.session(instance).await?;
            Ok((session.status == status).then_some(session))
        })
        .await
    }

    /// The names of the instances that there are.
    fn instances(&self) -> Vec<String> {
        self.stack.ams.instances().into_iter().map(|instance| instance.name).collect()
    }

    /// Returns once the agent has deleted what it has to: it deletes this one in the same way.
    async fn reconciled(&self) -> anyhow::Result<()> {
        let ams = &self.stack.ams;
        let tags = vec![
            "session=00000000000000000000".to_owned(),
            "deployment=dev".to_owned(),
            format!("cluster={}", ams.cluster_id()),
        ];
        // The store has to be older than what it is to know of.
        tokio::time::sleep(Duration::from_secs(2)).await;
        ams.plant("stray", APP, tags).context("a launch")?;
        ams.wait_until(|all| all.iter().all(|one| one.name != "stray"), STEP_TIMEOUT).await?;
        Ok(())
    }

    /// The documents of all sessions.
    async fn documents(&self) -> anyhow::Result<Vec<SessionDocument>> {
        let nats = &self.stack.nats;
        let bridge = Bridge::start(nats.bridge(), "test", &Supervisor::default())?;
        let read = async || Ok(bridge.list::<SessionDocument>(Bucket::Sessions).await.ok());
        let documents = eventually("read", read).await?;
        Ok(documents.into_iter().map(|(_, entry)| entry.value).collect())
    }
}

async fn token(agent: &Agent, kind: TokenKind) -> anyhow::Result<String> {
    let expires = Timestamp::now() + Duration::from_secs(600);
    Ok(agent.tokens.mint(Mint::new(kind, "test").expires(expires)).await?.token.to_string())
}

async fn open(agent: &Http, instance: &str) -> anyhow::Result<Answer> {
    let screen = json!({ "width": 720, "height": 1280, "fps": 30, "density": 160 });
    let body = json!({
        "instance_id": instance, "app": APP, "screen": screen, "extra_data": { "user": 7 },
    });
    agent.send(Method::POST, "/1.0/sessions", Some(body)).await
}

/// The instance that boots with what the agent answered AMS.
fn told(opened: &Value) -> anyhow::Result<Instance> {
    let userdata = opened["userdata"].as_str().context("userdata")?;
    let instance = Instance::told(userdata, watch::channel(false).1)?;
    assert_eq!(opened["id"], json!(instance.userdata.session_id));
    Ok(instance)
}

#[test]
fn an_instance_has_one_session_whichever_agents_and_gateways_are_asked_and_however_often() {
    run_flow(async || one_session(Options::default()).await);
}

pub(crate) async fn one_session(options: Options) -> anyhow::Result<()> {
    let initiating = InitiatingAms::start_with(options).await?;
    let (two, second) = initiating.stack.another_agent("two")?;
    let (_, another_gateway) = initiating.stack.another_gateway("other")?;
    let agents = [initiating.asks(&initiating.stack.nodes)?, initiating.asks(&two)?];
    let probe = Http::new(&two.agent_url(), None, two.agent_pin()?)?;
    let ready = async || Ok((probe.get("/1.0/health/ready").await?.status == 200).then_some(()));
    eventually("ready", ready).await?;
    let instance = initiating.launch("phone")?;

    let asks = (0..12).map(|n| {
        let agent = &agents[n % 2];
        let agent = if n % 3 == 0 { agent.clone() } else { agent.keyed(&instance) };
        let instance = instance.as_str();
        async move { open(&agent, instance).await }
    });
    let mut ids = BTreeSet::new();
    for answer in try_join_all(asks).await? {
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        let told = told(&answer.success()?)?;
        assert_eq!(told.report("running").await?.status, 200, "its token opens its session");
        ids.insert(told.userdata.session_id);
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
    let documents = initiating.documents().await?;
    assert_eq!(documents.len(), 1, "{documents:?}");
    assert_eq!(documents[0].instance_id.as_deref(), Some(instance.as_str()));

    // AMS asks again, when the first agent and one of the gateways have gone.
    initiating.stack.agent.stop().await;
    another_gateway.stop().await;
    let again = open(&agents[1], &instance).await?.success()?;
    assert_eq!(Some(&told(&again)?.userdata.session_id), ids.first());
    let other = initiating.launch("tablet")?;
    let other = open(&agents[1], &other).await?.success()?;
    assert!(!ids.contains(&told(&other)?.userdata.session_id), "another instance, another one");
    second.stop().await;
    Ok(())
}

#[test]
fn it_is_joined_any_number_of_times_and_deleting_the_session_deletes_the_instance() {
    run_flow(async || {
        let initiating = InitiatingAms::start().await?;
        let (id, instance) = initiating.stream("phone").await?;
        let userdata = &instance.userdata;
        assert_eq!(userdata.agent_url, initiating.stack.nodes.agent_url());
        assert_eq!(userdata.fingerprints, initiating.stack.nodes.agent_pins()?);
        let screen = (userdata.display_width, userdata.display_height, userdata.display_density);
        assert_eq!((screen, userdata.fps), ((720, 1280, 160), 30));
        assert_eq!(userdata.extra_data.as_str(), r#"{"user":7}"#);
        let session = initiating.session(&instance).await?;
        assert_eq!((session.app.as_str(), session.status.as_str()), (APP, "created"));
        assert_eq!((session.container_id.as_str(), session.joinable), (id.as_str(), true));
        assert_eq!(session.cluster_id, initiating.stack.ams.cluster_id());

        let commands = instance.commands(0, 0).await?;
        assert_eq!((&commands["signaling"], &commands["client"]), (&json!("closed"), &Value::Null));
        assert!(initiating.client.join(&session.id).await.is_err(), "it does not run yet");
        assert_eq!(instance.report("running").await?.status, 200);
        initiating.becomes(&instance, "active").await?;
        for generation in 1..=3 {
            let joined = initiating.client.join(&session.id).await?;
            let commands = instance.commands(0, 0).await?;
            assert_eq!(commands["generation"], generation);
            assert_eq!(commands["signaling"], "open");
            let mut socket = Socket::open(&joined, &initiating.stack).await?;
            socket.send(&json!({ "type": "discover", "n": generation })).await?;
            let (_, signals) = instance.read(None, 10).await?;
            assert_eq!(signals, [(generation, json!({ "type": "discover", "n": generation }))]);
            let answer = json!({ "type": "resp:discover", "n": generation });
            instance
                .write(&format!("a{generation}"), generation, answer.clone())
                .await?
                .success()?;
            assert_eq!(socket.next().await?, answer);
            socket.close().await?;
            for client in ["connected", "disconnected"] {
                let report = json!({ "client": client, "generation": generation });
                let path = instance.path("");
                assert_eq!(
                    instance.http.send(Method::PATCH, &path, Some(report)).await?.status,
                    200
                );
            }
        }

        initiating.client.delete(&session.id).await?;
        initiating.stack.ams.wait_until(|all| all.is_empty(), STEP_TIMEOUT).await?;
        initiating.becomes(&instance, "terminated").await?;
        let again = open(&initiating.asks(&initiating.stack.nodes)?, &id).await?;
        assert_eq!(again.status, 400, "its session is over: {again:?}");
        Ok(())
    });
}

#[test]
fn ams_may_delete_the_session_at_the_agent_as_well() {
    run_flow(async || {
        let initiating = InitiatingAms::start().await?;
        let (_, instance) = initiating.stream("phone").await?;
        let ams = initiating.asks(&initiating.stack.nodes)?;
        assert_eq!(ams.send(Method::DELETE, &instance.path(""), None).await?.status, 200);
        initiating.stack.ams.wait_until(|all| all.is_empty(), STEP_TIMEOUT).await?;
        initiating.becomes(&instance, "terminated").await?;
        Ok(())
    });
}

#[test]
fn the_session_ends_with_its_instance_whether_ams_tells_or_not() {
    run_flow(async || {
        let initiating = InitiatingAms::start().await?;
        let (id, told) = initiating.stream("phone").await?;
        let (_, untold) = initiating.stream("tablet").await?;
        for instance in [&told, &untold] {
            assert_eq!(instance.report("running").await?.status, 200);
        }
        let user = user_of_ams(&initiating.stack)?;
        let url = format!("{}/1.0/instances/{id}", initiating.stack.nodes.ams_url());
        assert!(user.delete(url).send().await?.status().is_success());
        let session = initiating.becomes(&told, "terminated").await?;
        assert_eq!(session.status_message, "the instance was deleted");

        initiating.stack.ams.set_faults(Faults { lost_event_every: 1, ..Faults::default() });
        initiating.stack.ams.lose("tablet");
        let session = initiating.becomes(&untold, "terminated").await?;
        assert_eq!(session.status_message, "the instance was deleted");
        Ok(())
    });
}

#[test]
fn an_instance_whose_session_ends_by_itself_stays_with_ams_and_so_do_those_of_strangers() {
    run_flow(async || {
        let initiating = InitiatingAms::start().await?;
        let (_, failed) = initiating.stream("failed").await?;
        let (_, live) = initiating.stream("live").await?;
        // Of somebody else, and yet with the tag that AMS puts on what streams.
        let tag = format!("session={}", failed.userdata.session_id);
        initiating.stack.ams.plant("stranger", APP, vec![tag]).context("a launch")?;
        assert_eq!(live.report("running").await?.status, 200);
        assert_eq!(failed.report("error").await?.status, 200);
        let session = initiating.becomes(&failed, "error").await?;
        assert_eq!(session.status_message, "the instance failed");
        // Nobody wants it any more, and what is over stays as it is.
        initiating.client.delete(&session.id).await?;
        initiating.reconciled().await?;
        assert_eq!(initiating.instances(), ["failed", "live", "stranger"]);
        assert_eq!(initiating.session(&live).await?.status, "active");
        Ok(())
    });
}

#[test]
fn an_instance_that_never_comes_up_costs_its_session_and_nothing_else() {
    run_flow(async || {
        let mut initiating = InitiatingAms::start().await?;
        initiating.stack.config.override_agent(toml! { agent.boot_timeout_s = 1 });
        let (nodes, impatient) = initiating.stack.another_agent("impatient")?;
        let agent = initiating.asks(&nodes)?;
        let instance = initiating.launch("phone")?;
        let opened = eventually("open", async || {
            let answer = open(&agent, &instance).await?;
            Ok((answer.status == StatusCode::CREATED).then_some(answer))
        });
        let instance = told(&opened.await?.success()?)?;
        let session = initiating.becomes(&instance, "error").await?;
        let why = "the instance did not get ready in time: AMS says that it runs, it has not \
                   reached this agent";
        assert_eq!(session.status_message, why);
        initiating.reconciled().await?;
        assert_eq!(initiating.instances(), ["phone"]);
        impatient.stop().await;
        Ok(())
    });
}

#[test]
fn only_ams_may_ask_and_only_for_an_instance() {
    run_flow(async || {
        let initiating = InitiatingAms::start().await?;
        let ams = initiating.asks(&initiating.stack.nodes)?;
        let (_, instance) = initiating.stream("phone").await?;
        let other = initiating.launch("tablet")?;
        for (token, expected) in [
            (None, 401),
            (Some("AgEUYW5ib3gtc3RyZWFt".to_owned()), 401),
            (Some(initiating.stack.token.clone()), 401),
            (Some(instance.userdata.token.clone()), 403),
            (Some(token(&initiating.stack.agent, TokenKind::Monitor).await?), 403),
        ] {
            let answer = open(&ams.with(token.as_deref()), &other).await?;
            assert_eq!(answer.status, expected, "{answer:?}");
        }
        let long = "x".repeat(9 * 1024);
        for body in [
            json!({ "app": APP }),
            json!({ "instance_id": "../phone" }),
            json!({ "instance_id": other, "extra_data": long }),
        ] {
            let answer = ams.send(Method::POST, "/1.0/sessions", Some(body)).await?;
            assert_eq!(answer.status, 400, "{answer:?}");
        }
        let answer = open(&ams.keyed(&"k".repeat(200)), &other).await?;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(initiating.documents().await?.len(), 1, "nothing was made of all that");
        Ok(())
    });
}

#[test]
fn without_a_gateway_or_nats_ams_is_asked_to_come_back_and_nothing_is_half_made() {
    run_flow(async || {
        let mut initiating = InitiatingAms::start().await?;
        let ams = initiating.asks(&initiating.stack.nodes)?;
        let instance = initiating.launch("phone")?;
        initiating.stack.gateway.stop().await;
        let refused = open(&ams, &instance).await?;
        assert_eq!((refused.status, refused.retry_after), (StatusCode::SERVICE_UNAVAILABLE, true));
        assert_eq!(initiating.documents().await?, []);

        let (_, gateway) = initiating.stack.another_gateway("other")?;
        let opened = eventually("open", async || {
            let answer = open(&ams, &instance).await?;
            Ok((answer.status == StatusCode::CREATED).then_some(answer))
        });
        told(&opened.await?.success()?)?;

        initiating.stack.nats.stop();
        let other = initiating.launch("tablet")?;
        let refused = open(&ams, &other).await?;
        assert_eq!((refused.status, refused.retry_after), (StatusCode::SERVICE_UNAVAILABLE, true));
        gateway.stop().await;
        Ok(())
    });
}

#[test]
fn ams_asks_for_every_instance_that_is_to_stream_and_tells_it_what_it_needs() {
    run_flow(async || {
        let options = Options { launcher: crate::support::light_instances(), ..Options::default() };
        let stack = Stack::start(options).await?;
        let (nodes, ams, client) = (&stack.nodes, &stack.ams, stack.client()?);
        let user = user_of_ams(&stack)?;
        let launch = async || {
            let display = json!({ "width": 720, "height": 1280, "fps": 60, "density": 240 });
            let config =
                json!({ "enable_streaming": true, "platform": "webrtc", "display": display });
            let body = json!({ "app_id": APP, "app_version": -1, "config": config });
            let url = format!("{}/1.0/instances", nodes.ams_url());
            anyhow::Ok(user.post(url).json(&body).send().await?.status())
        };
        for (name, value) in [
            ("agent.api.url", nodes.agent_url()),
            ("agent.api.fingerprint", nodes.agent_pin()?.to_string()),
            ("agent.api.token", "AgEUYW5ib3gtc3RyZWFt".to_owned()),
        ] {
            ams.configure(name, &value).map_err(anyhow::Error::msg)?;
        }
        assert!(launch().await?.is_success());
        let failed = |all: &[stream_simulators::ams::Instance]| {
            all.iter().any(|one| one.error_message.contains("a valid token is needed"))
        };
        ams.wait_until(failed, STEP_TIMEOUT).await?;
        assert_eq!(client.list().await?, Vec::<String>::new(), "the agent did not know AMS");

        ams.configure("agent.api.token", &token(&stack.agent, TokenKind::Ams).await?)
            .map_err(anyhow::Error::msg)?;
        assert!(launch().await?.is_success());
        let streams = |all: &[stream_simulators::ams::Instance]| {
            all.iter().any(|one| one.tags.iter().any(|tag| tag.starts_with("session=")))
        };
        let all = ams.wait_until(streams, STEP_TIMEOUT).await?;
        let (instance, tag) = all
            .iter()
            .find_map(|one| Some((one, one.tags.first()?.strip_prefix("session=")?)))
            .context("an instance with a session")?;
        eventually(
            "active",
            async || Ok((client.get(tag).await?.status == "active").then_some(())),
        )
        .await?;
        assert_eq!(client.get(tag).await?.container_id, instance.id);
        for _ in 0..2 {
            client.join(tag).await?;
        }
        let url = format!("{}/1.0/instances/{}", nodes.ams_url(), instance.id);
        assert!(user.delete(url).send().await?.status().is_success());
        eventually("over", async || {
            Ok((client.get(tag).await?.status == "terminated").then_some(()))
        })
        .await
    });
}
