//! The agent and its AMS: trust, certificates, what can be launched, and AMS away. And the
//! simulated AMS as the public Go client finds it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use crate::support::{APP, Http, STEP_TIMEOUT, ScriptedStack, eventually, run_flow, stream_dev};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stream_dev::keys::KeyStore;
use stream_protocol::Screen;
use stream_simulators::ams::{Faults, Instance, Status};
use tokio::io::{AsyncBufReadExt, BufReader};

const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");

const IMAGE: &str = "jammy:android15:amd64";

/// Runs `stream-agent ams register`.
async fn register(config: &Path, password: Option<&Path>) -> anyhow::Result<Output> {
    let mut command = tokio::process::Command::new(AGENT);
    command.args(["ams", "register", "--config"]).arg(config).kill_on_drop(true);
    if let Some(file) = password {
        command.arg("--trust-password-file").arg(file);
    }
    Ok(tokio::time::timeout(STEP_TIMEOUT, command.output()).await??)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// A token of the agent that is told why something is away.
async fn monitor(scripted: &ScriptedStack) -> anyhow::Result<String> {
    let config = scripted.stack.nodes.dir.join("agent.toml");
    let mut command = tokio::process::Command::new(AGENT);
    command.args(["token", "create", "--scope", "monitor", "probe", "--config"]);
    let output = command.arg(config).output().await?;
    anyhow::ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The agent's readiness: whether it is ready, and the answer.
async fn ready(scripted: &ScriptedStack) -> anyhow::Result<(bool, Value)> {
    let nodes = &scripted.stack.nodes;
    let token = monitor(scripted).await?;
    let answer = Http::new(&nodes.agent_url(), Some(&token), nodes.agent_pin()?)?;
    let answer = answer.get("/1.0/health/ready").await?;
    Ok((answer.status == 200, answer.body))
}

#[test]
fn an_agent_that_ams_does_not_trust_is_registered_with_the_trust_password() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let (ams, nodes) = (&scripted.stack.ams, &scripted.stack.nodes);
        let client = nodes.ams_client_pin()?;
        ams.configure("core.trust_password", "sesame").map_err(anyhow::Error::msg)?;
        ams.distrust(client);
        let why = eventually("unready", async || {
            let (ready, body) = ready(&scripted).await?;
            Ok((!ready).then(|| body.to_string()))
        });
        let why = why.await?;
        assert!(why.contains("does not trust our client certificate"), "{why}");

        let config = nodes.dir.join("agent.toml");
        let by_hand = register(&config, None).await?;
        assert!(by_hand.status.success() && said(&by_hand).contains("amc config trust add"));
        assert!(said(&by_hand).contains(&client.to_string()), "{by_hand:?}");
        let file = nodes.dir.join("trust-password");
        stream_dev::keys::write_secret(&file, "simsim\n")?;
        let wrong = register(&config, Some(&file)).await?;
        assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
        assert!(said(&wrong).contains("the trust password is wrong"), "{}", said(&wrong));
        assert!(!said(&wrong).contains("simsim"));

        std::fs::write(&file, "sesame\n")?;
        for expected in ["trusts this node now", "trusts this node already"] {
            let output = register(&config, Some(&file)).await?;
            assert!(output.status.success() && said(&output).contains(expected), "{output:?}");
        }
        eventually("ready", async || Ok(ready(&scripted).await?.0.then_some(()))).await?;
        Ok(())
    });
}

#[test]
fn an_agent_takes_up_another_client_certificate_without_a_restart() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let old = scripted.stack.nodes.ams_client_pin()?;
        let (next, home) =
            (KeyStore::shared()?.pair("ams-next")?, scripted.stack.nodes.agent_dir());
        scripted.stack.ams.trust(next.identity()?.fingerprint());
        for (from, to) in [(&next.key, "ams-client.key"), (&next.certificate, "ams-client.crt")] {
            std::fs::copy(from, home.join("replacement"))?;
            std::fs::rename(home.join("replacement"), home.join(to))?;
        }
        scripted.stack.ams.distrust(old);
        eventually("launched with the new certificate", async || {
            Ok(scripted.client.create(APP, Screen::default()).await.ok())
        })
        .await?;
        scripted.booted().await?;
        Ok(())
    });
}

#[test]
fn what_can_be_launched_is_known_to_the_gateway_as_soon_as_ams_tells() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let known = async |expected: Value| {
            eventually("known", async || {
                let names = json!(scripted.client.applications().await?);
                Ok((names == expected).then_some(()))
            })
            .await
        };
        known(json!([APP])).await?;
        scripted.stack.ams.publish(APP, 1, false).map_err(anyhow::Error::msg)?;
        known(json!([])).await?;
        scripted.stack.ams.publish(APP, 1, true).map_err(anyhow::Error::msg)?;
        known(json!([APP])).await
    });
}

#[test]
fn a_session_runs_an_image_when_there_is_no_application_of_that_name() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let created = scripted.client.create(IMAGE, Screen::default()).await?;
        let instance = scripted.booted().await?;
        assert_eq!(instance.report("running").await?.status, 200);
        let launched = scripted.stack.ams.instances().remove(0);
        assert!(launched.app_id.is_empty());
        assert!(launched.tags.contains(&format!("session={}", created.id)));
        assert!(scripted.client.create("nothing", Screen::default()).await.is_err());
        Ok(())
    });
}

#[test]
fn a_boot_that_fails_tells_the_client_why() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let ams = &scripted.stack.ams;
        ams.set_faults(Faults { broken_boot_every: 1, lost_event_every: 1, ..Faults::default() });
        let created = scripted.client.create(APP, Screen::default()).await?;
        let why = eventually("failed", async || {
            let session = scripted.client.get(&created.id).await?;
            Ok((session.status == "error").then_some(session.status_message))
        });
        assert!(why.await?.contains("the boot broke off"));
        Ok(())
    });
}

#[test]
fn all_goes_on_when_a_mute_ams_speaks_again() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let ams = &scripted.stack.ams;
        let hung = ams.hung();
        ams.set_faults(Faults { hang_every: 1, ..Faults::default() });
        // Calls of the agent's own, and looks beside one another.
        ams.wait_until_hung(hung + 4, STEP_TIMEOUT).await?;
        ams.set_faults(Faults::default());
        let back = Instant::now();
        eventually("created", async || {
            Ok(scripted.client.create(APP, Screen::default()).await.ok())
        })
        .await?;
        scripted.booted().await?;
        println!("a session {} ms after the return of AMS", back.elapsed().as_millis());
        let running = |all: &[Instance]| all.iter().any(|one| one.status == Status::Running);
        let instances = scripted.stack.ams.wait_until(running, STEP_TIMEOUT).await?;
        assert_eq!(instances.len(), 1, "nothing is launched twice: {instances:?}");
        Ok(())
    });
}

#[test]
fn the_public_go_client_finds_what_it_needs() {
    run_flow(async || {
        let dir = tempfile::tempdir()?;
        let program = dir.path().join("ams");
        let built = Command::new("go")
            .args(["build", "-o", program.to_str().context("a path")?, "."])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/ams"))
            .envs([("GO111MODULE", "off"), ("GOFLAGS", "")])
            .status()
            .context("there is no Go: install golang-go")?;
        ensure!(built.success(), "the Go program does not build");

        let client = KeyStore::shared()?.pair("ams-client")?;
        let mut simulator = tokio::process::Command::new(stream_dev())
            .args(["ams", "--port", "0", "--instances", "nothing", "--boot-ms", "90"])
            .args(["--trust-password", "sesame"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let printed = simulator.stdout.take().context("its output")?;
        // Kept to the end: a program whose output nobody takes cannot go on.
        let mut lines = BufReader::new(printed).lines();
        let first = tokio::time::timeout(STEP_TIMEOUT, lines.next_line());
        let url = first.await??.context("its address")?;

        let checked = tokio::process::Command::new(program)
            .args(["-url", &url, "-password", "sesame", "-app", APP])
            .arg("-cert")
            .arg(client.certificate)
            .arg("-key")
            .arg(client.key)
            .kill_on_drop(true)
            .output();
        let checked = tokio::time::timeout(2 * STEP_TIMEOUT, checked).await??;
        print!("{}", said(&checked));
        ensure!(checked.status.success(), "the simulator is not as the Go client needs it");
        simulator.kill().await?;
        Ok(())
    });
}
