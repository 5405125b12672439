//! What AMS runs and what the store knows, brought together again after either went wrong.

use std::time::Duration;

use crate::support::{APP, Http, STEP_TIMEOUT, ScriptedStack, becomes, eventually, run_flow};
use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::json;
use stream_bridge::Bridge;
use stream_dev::in_process::Options;
use stream_protocol::subjects::Bucket;
use stream_protocol::{Screen, SessionDocument, SessionId, Timestamp, TokenKind};
use stream_simulators::ams::Faults;
use stream_supervisor::Supervisor;
use stream_tokens::Mint;
use toml::toml;

fn tags(scripted: &ScriptedStack, session: &str, deployment: &str, cluster: &str) -> Vec<String> {
    let cluster = if cluster.is_empty() { scripted.stack.ams.cluster_id() } else { cluster };
    vec![
        format!("session={session}"),
        format!("deployment={deployment}"),
        format!("cluster={cluster}"),
    ]
}

const NOBODY: &str = "00000000000000000000";

#[test]
fn an_instance_of_no_session_is_deleted_and_strangers_stay() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        assert_eq!(instance.report("running").await?.status, 200);
        // The store has to be older than what it is to know of.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let ams = &scripted.stack.ams;
        let plant = |name: &str, deployment: &str, cluster: &str| {
            ams.plant(name, APP, tags(&scripted, NOBODY, deployment, cluster)).expect("planted");
        };
        plant("stray", "dev", "");
        plant("other-deployment", "prod", "");
        plant("other-cluster", "dev", "00000000000000000001");
        ams.plant("by-hand", APP, Vec::new()).expect("planted");

        let gone = |all: &[_]| {
            all.iter().all(|one: &stream_simulators::ams::Instance| one.name != "stray")
        };
        let left = ams.wait_until(gone, STEP_TIMEOUT).await?;
        let mut names: Vec<_> = left.into_iter().map(|one| one.name).collect();
        names.sort();
        let own = format!("s-{}-1", created.id);
        assert_eq!(names, ["by-hand", "other-cluster", "other-deployment", own.as_str()]);
        becomes(&scripted.client, &created.id, "active").await?;
        Ok(())
    });
}

/// The name of the account whose token the stack hands out.
const ACCOUNT: &str = "test";

#[test]
fn an_instance_that_was_given_the_name_of_a_session_is_left_alone() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let nodes = &scripted.stack.nodes;
        let token = &scripted.stack.token;
        let gateway = Http::new(&nodes.gateway_url(), Some(token), nodes.gateway_pin()?)?;
        // Whoever knows the key knows the id, and so the name.
        let mut bytes = [0; 13];
        let code = stream_pki::hmac_sha256(ACCOUNT.as_bytes(), b"known");
        bytes.copy_from_slice(&code[..13]);
        let id = SessionId::from_bytes(bytes);
        let name = format!("s-{id}-1");
        let text = "\u{1b}[2Jplanted";
        let tags = vec![format!("session={id}"), text.to_owned()];
        let planted = scripted.stack.ams.plant(&name, APP, tags).context("planted")?;
        // It boots without the user data of a session.
        ensure!(scripted.booted().await.is_err());

        let created = gateway.create_with_key(APP, "known").await?.success()?;
        ensure!(created["id"] == id.as_str(), "{created}");
        let instance = scripted.booted().await?;
        ensure!(instance.report("running").await?.status == 200);
        let bridge = Bridge::start(scripted.stack.nats.bridge(), "test", &Supervisor::default())?;
        let document = async || -> anyhow::Result<SessionDocument> {
            let read = bridge.read::<SessionDocument>(Bucket::Sessions, id.as_str()).await?;
            Ok(read.context("no document")?.value)
        };
        let present = eventually("read", async || Ok(document().await.ok())).await?;
        let other = present.instance_name.context("a name")?.to_string();
        ensure!(other.starts_with(&format!("s-{id}-")) && other != name, "{other}");
        let told = present.causes.iter().any(|cause| cause.text.contains(&name));
        ensure!(told, "{:?}", present.causes);

        gateway.send(Method::DELETE, &format!("/1.0/sessions/{id}"), None).await?.success()?;
        let left =
            |all: &[stream_simulators::ams::Instance]| all.iter().all(|one| one.name != other);
        let left = scripted.stack.ams.wait_until(left, STEP_TIMEOUT).await?;
        ensure!(left.iter().any(|one| one.id == planted), "{left:?}");
        Ok(())
    });
}

#[test]
fn a_launch_that_ams_carries_out_late_and_twice_leaves_no_instance_behind() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let ams = &scripted.stack.ams;
        // Longer than the agent waits for one answer.
        let late_launch = Duration::from_secs(11);
        ams.set_faults(Faults { late_launch, double_launch: true, ..Faults::default() });
        let refused = scripted.client.create(APP, Screen::default()).await;
        assert!(refused.is_err(), "AMS did not answer");
        let launched = |all: &[stream_simulators::ams::Instance]| !all.is_empty();
        let instances = ams.wait_until(launched, STEP_TIMEOUT).await?;
        assert_eq!(instances.len(), 1, "{instances:?}");
        ams.wait_until(|all| all.is_empty(), STEP_TIMEOUT).await?;
        Ok(())
    });
}

#[test]
fn a_launch_whose_answer_is_lost_leaves_no_instance_behind() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let ams = &scripted.stack.ams;
        // Longer than the agent waits for one answer.
        let late_answer = Duration::from_secs(11);
        ams.set_faults(Faults { late_answer, ..Faults::default() });
        let launched = |all: &[stream_simulators::ams::Instance]| all.len() == 1;
        let (refused, instances) = tokio::join!(
            scripted.client.create(APP, Screen::default()),
            ams.wait_until(launched, STEP_TIMEOUT)
        );
        assert!(refused.is_err(), "AMS did not answer");
        instances?;
        ams.set_faults(Faults::default());
        ams.wait_until(|all| all.is_empty(), STEP_TIMEOUT).await?;
        Ok(())
    });
}

#[test]
fn a_session_that_is_deleted_while_it_is_launched_leaves_no_instance_behind() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let (ams, nodes) = (&scripted.stack.ams, &scripted.stack.nodes);
        for faults in [
            Faults { late_launch: Duration::from_secs(1), ..Faults::default() },
            Faults { late_answer: Duration::from_secs(1), ..Faults::default() },
        ] {
            ams.set_faults(faults.clone());
            let known = scripted.client.list().await?;
            let delete = async || {
                let id = eventually("stored", async || {
                    let ids = scripted.client.list().await?;
                    Ok(ids.into_iter().find(|id| !known.contains(id)))
                });
                let id = id.await?;
                let claimed = async || {
                    let session = scripted.client.get(&id).await?;
                    Ok((!session.cluster_id.is_empty()).then_some(()))
                };
                eventually("claimed", claimed).await?;
                if !faults.late_answer.is_zero() {
                    ams.wait_until(|all| !all.is_empty(), STEP_TIMEOUT).await?;
                }
                scripted.client.delete(&id).await?;
                anyhow::Ok(id)
            };
            let gateway =
                Http::new(&nodes.gateway_url(), Some(&scripted.stack.token), nodes.gateway_pin()?)?;
            let body = Some(json!({ "app": APP }));
            let create = gateway.send(Method::POST, "/1.0/sessions", body);
            let (created, deleted) = tokio::join!(create, delete());
            let (answer, id) = (created?, deleted?);
            assert!(!answer.status.is_server_error(), "{answer:?}");
            eventually("over", async || {
                Ok((scripted.client.get(&id).await?.status == "terminated").then_some(()))
            })
            .await?;
            ams.wait_until(|all| all.is_empty(), STEP_TIMEOUT).await?;
        }
        Ok(())
    });
}

/// What the agent tells of alerts: the numbers of those named `name`, and the sentences.
async fn alerts(scripted: &ScriptedStack, name: &str) -> anyhow::Result<(u64, Vec<String>)> {
    let nodes = &scripted.stack.nodes;
    let mint =
        Mint::new(TokenKind::Monitor, "test").expires(Timestamp::now() + Duration::from_secs(60));
    let minted = scripted.stack.agent.tokens.mint(mint);
    let token = minted.await?.token.to_string();
    let agent = Http::new(&nodes.agent_url(), Some(&token), nodes.agent_pin()?)?;
    let page = agent.get("/metrics").await?;
    let page = page.body.as_str().context("text")?.to_owned();
    let series = format!("anbox_stream_agent_alerts{{alert=\"{name}\"}} ");
    let number = page.lines().find_map(|line| line.strip_prefix(series.as_str()));
    let status = agent.get("/1.0/status").await?.success()?;
    let sentences = serde_json::from_value(status["alerts"].clone())?;
    Ok((number.context("a series")?.parse()?, sentences))
}

#[test]
fn an_instance_has_its_hooks_run_before_it_goes_and_they_cannot_keep_it() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        for failing_hook in [false, true] {
            let (created, _instance) = scripted.create().await?;
            scripted.stack.ams.set_faults(Faults { failing_hook, ..Faults::default() });
            scripted.client.delete(&created.id).await?;
            scripted.stack.ams.wait_until(|all| all.is_empty(), STEP_TIMEOUT).await?;
            assert_eq!(scripted.stack.ams.forced_deletions() > 0, failing_hook);
        }
        Ok(())
    });
}

#[test]
fn an_instance_that_will_not_go_is_reported_until_it_does() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, _instance) = scripted.create().await?;
        const KIND: &str = "lingering_instance";
        assert_eq!(alerts(&scripted, KIND).await?, (0, Vec::new()));
        scripted.stack.ams.set_faults(Faults { lying_deletes: u32::MAX, ..Faults::default() });
        scripted.client.delete(&created.id).await?;
        let told = eventually("told", async || {
            let (number, sentences) = alerts(&scripted, KIND).await?;
            Ok((number == 1).then_some(sentences))
        })
        .await?;
        let instances = scripted.stack.ams.instances();
        let id = &instances.first().context("the instance")?.id;
        let sentence = format!("instance {id} is still there after");
        assert!(told[0].starts_with(&sentence), "{told:?}");
        assert_eq!(scripted.client.get(&created.id).await?.status, "terminating");

        scripted.stack.ams.set_faults(Faults::default());
        scripted.stack.ams.wait_until(|all| all.is_empty(), STEP_TIMEOUT).await?;
        eventually("settled", async || {
            Ok((alerts(&scripted, KIND).await? == (0, Vec::new())).then_some(()))
        })
        .await
    });
}

#[test]
fn a_lost_instance_is_noticed_whichever_agent_lists_them_and_whose_session_it_is() {
    run_flow(async || {
        // Each agent takes one session.
        let agent = toml! { agent.capacity = 1 };
        let mut scripted =
            ScriptedStack::start_with(Options { agent, ..Options::default() }).await?;
        let (_nodes, second) = scripted.stack.another_agent("second")?;
        let mut sessions = Vec::new();
        for _ in 0..2 {
            let create = async || Ok(scripted.client.create(APP, Screen::default()).await.ok());
            let created = eventually("created", create).await?;
            scripted.booted().await?.report("running").await?.success()?;
            sessions.push(created.id);
        }
        let bridge = Bridge::start(scripted.stack.nats.bridge(), "test", &Supervisor::default())?;
        let owner = async |id: &String| {
            let read = bridge.read::<SessionDocument>(Bucket::Sessions, id).await.ok().flatten();
            Ok(read.and_then(|entry| entry.value.owner).map(|agent| agent.to_string()))
        };
        let mut owners = Vec::new();
        for id in &sessions {
            owners.push(eventually("owned", async || owner(id).await).await?);
        }
        owners.sort();
        assert_eq!(owners, ["dev", "second"]);
        for instance in scripted.stack.ams.instances() {
            scripted.stack.ams.lose(&instance.name);
        }
        for id in &sessions {
            let ended = async || {
                let session = scripted.client.get(id).await?;
                Ok((session.status == "error").then_some(session.status_message))
            };
            assert_eq!(eventually("over", ended).await?, "the instance has disappeared");
        }
        second.stop().await;
        Ok(())
    });
}

#[test]
fn instances_that_the_store_should_know_and_does_not_are_reported_and_stay() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let ams = &scripted.stack.ams;
        // The store has to be older than what it is to know of.
        tokio::time::sleep(Duration::from_secs(2)).await;
        // More than one page of a list.
        for n in 0..1203 {
            let name = format!("stray-{n}");
            ams.plant(&name, APP, tags(&scripted, NOBODY, "dev", "")).context("planted")?;
        }
        const KIND: &str = "doubtful_instances";
        let told = eventually("told", async || {
            let (number, sentences) = alerts(&scripted, KIND).await?;
            Ok((number == 1).then_some(sentences))
        })
        .await?;
        assert!(told[0].starts_with("1203 of 1203 instances"), "{told:?}");
        assert_eq!(ams.instances().len(), 1203);
        Ok(())
    });
}

#[test]
fn a_session_that_is_not_ephemeral_stays_after_its_end_until_it_is_deleted() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let body = json!({ "app": APP, "ephemeral": false });
        let created = scripted.client.create_from(&body).await?;
        let instance = scripted.booted().await?;
        assert_eq!(instance.report("stopped").await?.status, 200);
        eventually("over", async || {
            Ok((scripted.client.get(&created.id).await?.status == "terminated").then_some(()))
        })
        .await?;
        scripted.client.delete(&created.id).await?;
        assert!(scripted.client.get(&created.id).await.is_err(), "it is forgotten");
        assert_eq!(scripted.client.list().await?, Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn a_session_that_ended_is_in_a_list_only_when_its_status_is_asked_for() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        assert_eq!(instance.report("stopped").await?.status, 200);
        eventually("over", async || {
            Ok((scripted.client.get(&created.id).await?.status == "terminated").then_some(()))
        })
        .await?;
        assert_eq!(scripted.client.list().await?, Vec::<String>::new());
        let (nodes, token) = (&scripted.stack.nodes, &scripted.stack.token);
        let http = Http::new(&nodes.gateway_url(), Some(token), nodes.gateway_pin()?)?;
        let ended = http.get("/1.0/sessions?status=terminated").await?.success()?;
        assert_eq!(ended, json!([created.id]));
        Ok(())
    });
}

#[test]
fn a_key_that_was_refused_for_the_moment_launches_when_it_comes_again() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (nodes, token) = (&scripted.stack.nodes, &scripted.stack.token);
        let http = Http::new(&nodes.gateway_url(), Some(token), nodes.gateway_pin()?)?;
        scripted.stack.ams.set_faults(Faults { busy_every: 1, ..Faults::default() });
        let refused = http.create_with_key(APP, "again").await?;
        assert_eq!((refused.status.as_u16(), refused.retry_after), (503, true), "{refused:?}");
        scripted.stack.ams.set_faults(Faults::default());
        // As long as it is told to come back.
        let created = eventually("created", async || {
            let answer = http.create_with_key(APP, "again").await?;
            ensure!(answer.status == 503 || answer.status == 201, "{answer:?}");
            Ok((answer.status == 201).then_some(answer))
        })
        .await?
        .success()?;
        // Its instance is let in, under a name that AMS has not heard before.
        let instance = scripted.booted().await?;
        assert_eq!(json!(instance.userdata.session_id), created["id"]);
        assert_eq!(instance.report("running").await?.status, 200);
        Ok(())
    });
}

#[test]
fn an_instance_that_does_not_go_is_deleted_again_and_the_session_ends_only_then() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        assert_eq!(instance.report("running").await?.status, 200);
        let ams = &scripted.stack.ams;
        ams.set_faults(Faults { lying_deletes: u32::MAX, ..Faults::default() });
        scripted.client.delete(&created.id).await?;
        eventually("ending", async || {
            Ok((scripted.client.get(&created.id).await?.status == "terminating").then_some(()))
        })
        .await?;
        assert_eq!(ams.instances().len(), 1, "the deletion did nothing");
        // However soon it is made again.
        ams.set_faults(Faults::default());
        ams.wait_until(|all| all.is_empty(), STEP_TIMEOUT).await?;
        eventually("over", async || {
            Ok((scripted.client.get(&created.id).await?.status == "terminated").then_some(()))
        })
        .await
    });
}

#[test]
fn an_instance_that_fails_to_boot_ends_its_session_with_the_words_of_ams() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        scripted.stack.ams.set_faults(Faults { broken_boot_every: 1, ..Faults::default() });
        let created = scripted.client.create(APP, Screen::default()).await?;
        let session = eventually("over", async || {
            let session = scripted.client.get(&created.id).await?;
            Ok((session.status == "error").then_some(session))
        })
        .await?;
        let why = "the instance failed: the boot broke off, may be started again until 20";
        assert!(session.status_message.starts_with(why), "{session:?}");
        assert_eq!(
            scripted.client.list().await?,
            std::slice::from_ref(&created.id),
            "until it is deleted"
        );
        assert_eq!(scripted.stack.ams.instances().len(), 1, "its logs can be read until then");
        scripted.client.delete(&created.id).await?;
        scripted.stack.ams.wait_until(|all| all.is_empty(), STEP_TIMEOUT).await?;
        let none = async || Ok(scripted.client.list().await?.is_empty().then_some(()));
        eventually("forgotten", none).await
    });
}

#[test]
fn an_instance_tells_of_its_client_once_it_runs() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (_created, instance) = scripted.create().await?;
        let tell = async |body: serde_json::Value| {
            let answer = instance.http.send(Method::PATCH, &instance.path(""), Some(body)).await?;
            anyhow::Ok(answer.status.as_u16())
        };
        let connected = json!({ "client": "connected", "generation": 0 });
        assert_eq!(tell(connected.clone()).await?, 400, "it does not run yet");
        assert_eq!(instance.report("running").await?.status, 200);
        assert_eq!(tell(connected).await?, 200);
        assert_eq!(tell(json!({ "client": "disconnected", "generation": 0 })).await?, 200);
        assert_eq!(tell(json!({ "client": "asleep", "generation": 0 })).await?, 400);
        assert_eq!(tell(json!({ "client": "connected" })).await?, 400, "of which generation?");
        Ok(())
    });
}

#[test]
fn an_ams_that_answers_nobody_is_named_as_the_cause_and_used_again_when_it_is_back() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let (ams, nodes) = (&scripted.stack.ams, &scripted.stack.nodes);
        ams.set_faults(Faults { hang_every: 1, ..Faults::default() });
        let gateway =
            Http::new(&nodes.gateway_url(), Some(&scripted.stack.token), nodes.gateway_pin()?)?;
        let body = Some(json!({ "app": APP }));
        let answer = gateway.send(Method::POST, "/1.0/sessions", body).await?;
        assert_eq!(answer.status, 503, "{answer:?}");
        let agent = Http::new(&nodes.agent_url(), None, nodes.agent_pin()?)?;
        let ready = eventually("not ready", async || {
            let answer = agent.get("/1.0/health/ready").await?;
            Ok((answer.status == 503).then_some(answer.body.to_string()))
        })
        .await?;
        assert!(ready.contains("ams"), "{ready}");
        assert_eq!(agent.get("/1.0/health/live").await?.status, 200);

        ams.set_faults(Faults::default());
        let back = std::time::Instant::now();
        eventually("back", async || Ok(scripted.client.create(APP, Screen::default()).await.ok()))
            .await?;
        // A look in four seconds at most, once the one that hung has been given up.
        assert!(back.elapsed() < Duration::from_secs(15), "{:?}", back.elapsed());
        let live = |all: &[stream_simulators::ams::Instance]| all.len() == 1;
        ams.wait_until(live, STEP_TIMEOUT).await?;
        Ok(())
    });
}
