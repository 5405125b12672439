//! The agent and its AMS: trust, certificates, what can be launched, and AMS away. And the simulated
//! AMS as the public Go client finds it.

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stream_agent::dev::keys::KeyStore;
use stream_protocol::Screen;
use stream_simulators::ams::{Faults, Instance, Status};
use support::{APP, Http, PATIENCE, Played, eventually, flow};
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
    Ok(tokio::time::timeout(PATIENCE, command.output()).await??)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// The agent's readiness: whether it is ready, and the answer.
async fn ready(played: &Played) -> anyhow::Result<(bool, Value)> {
    let site = &played.stack.site;
    let answer = Http::new(&site.agent_url(), None, site.agent_pin()?)?;
    let answer = answer.get("/1.0/health/ready").await?;
    Ok((answer.status == 200, answer.body))
}

#[test]
fn an_agent_that_ams_does_not_trust_is_registered_with_the_trust_password() {
    flow(async || {
        let played = Played::start().await?;
        let (ams, site) = (&played.stack.ams, &played.stack.site);
        let client = site.ams_client_pin()?;
        ams.configure("core.trust_password", "sesame").map_err(anyhow::Error::msg)?;
        ams.distrust(client);
        let why = eventually("unready", async || {
            let (ready, body) = ready(&played).await?;
            Ok((!ready).then(|| body.to_string()))
        });
        let why = why.await?;
        assert!(why.contains("does not trust our client certificate"), "{why}");

        let config = site.dir.join("agent.toml");
        let by_hand = register(&config, None).await?;
        assert!(by_hand.status.success() && said(&by_hand).contains("amc config trust add"));
        assert!(said(&by_hand).contains(&client.to_string()), "{by_hand:?}");
        let file = site.dir.join("trust-password");
        std::fs::write(&file, "simsim\n")?;
        let wrong = register(&config, Some(&file)).await?;
        assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
        assert!(said(&wrong).contains("the trust password is wrong"), "{}", said(&wrong));
        assert!(!said(&wrong).contains("simsim"));

        std::fs::write(&file, "sesame\n")?;
        for expected in ["trusts this node now", "trusts this node already"] {
            let output = register(&config, Some(&file)).await?;
            assert!(output.status.success() && said(&output).contains(expected), "{output:?}");
        }
        eventually("ready", async || Ok(ready(&played).await?.0.then_some(()))).await?;
        Ok(())
    });
}

#[test]
fn an_agent_takes_up_another_client_certificate_without_a_restart() {
    flow(async || {
        let mut played = Played::start().await?;
        let old = played.stack.site.ams_client_pin()?;
        let (next, home) = (KeyStore::shared()?.pair("ams-next")?, played.stack.site.agent_dir());
        played.stack.ams.trust(next.identity()?.fingerprint());
        for (from, to) in [(&next.key, "ams-client.key"), (&next.certificate, "ams-client.crt")] {
            std::fs::copy(from, home.join("replacement"))?;
            std::fs::rename(home.join("replacement"), home.join(to))?;
        }
        played.stack.ams.distrust(old);
        eventually("launched with the new certificate", async || {
            Ok(played.client.create(APP, Screen::default()).await.ok())
        })
        .await?;
        played.booted().await?;
        Ok(())
    });
}

#[test]
fn what_can_be_launched_is_known_to_the_gateway_as_soon_as_ams_tells() {
    flow(async || {
        let played = Played::start().await?;
        let known = async |expected: Value| {
            eventually("known", async || {
                let names = json!(played.client.applications().await?);
                Ok((names == expected).then_some(()))
            })
            .await
        };
        known(json!([APP])).await?;
        played.stack.ams.publish(APP, 1, false).map_err(anyhow::Error::msg)?;
        known(json!([])).await?;
        played.stack.ams.publish(APP, 1, true).map_err(anyhow::Error::msg)?;
        known(json!([APP])).await
    });
}

#[test]
fn a_session_runs_an_image_when_there_is_no_application_of_that_name() {
    flow(async || {
        let mut played = Played::start().await?;
        let created = played.client.create(IMAGE, Screen::default()).await?;
        let instance = played.booted().await?;
        assert_eq!(instance.report("running").await?.status, 200);
        let launched = played.stack.ams.instances().remove(0);
        assert!(launched.app_id.is_empty());
        assert!(launched.tags.contains(&format!("session={}", created.id)));
        assert!(played.client.create("nothing", Screen::default()).await.is_err());
        Ok(())
    });
}

#[test]
fn a_boot_that_fails_tells_the_client_why() {
    flow(async || {
        let played = Played::start().await?;
        let ams = &played.stack.ams;
        ams.set_faults(Faults { broken_boot_every: 1, lost_event_every: 1, ..Faults::default() });
        let created = played.client.create(APP, Screen::default()).await?;
        let why = eventually("failed", async || {
            let session = played.client.get(&created.id).await?;
            Ok((session.status == "error").then_some(session.status_message))
        });
        assert!(why.await?.contains("the boot broke off"));
        Ok(())
    });
}

#[test]
fn all_goes_on_when_a_mute_ams_speaks_again() {
    flow(async || {
        let mut played = Played::start().await?;
        let ams = &played.stack.ams;
        let hung = ams.hung();
        ams.set_faults(Faults { hang_every: 1, ..Faults::default() });
        // Calls of the agent's own, and looks beside one another.
        ams.wait_until_hung(hung + 4, PATIENCE).await?;
        ams.set_faults(Faults::default());
        let back = Instant::now();
        eventually("created", async || Ok(played.client.create(APP, Screen::default()).await.ok()))
            .await?;
        played.booted().await?;
        println!("a session {} ms after the return of AMS", back.elapsed().as_millis());
        let running = |all: &[Instance]| all.iter().any(|one| one.status == Status::Running);
        let instances = played.stack.ams.wait_until(running, PATIENCE).await?;
        assert_eq!(instances.len(), 1, "nothing is launched twice: {instances:?}");
        Ok(())
    });
}

#[test]
fn the_public_go_client_finds_what_it_needs() {
    flow(async || {
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
        let mut simulator = tokio::process::Command::new(env!("CARGO_BIN_EXE_stream-dev"))
            .args(["ams", "--port", "0", "--instances", "nothing", "--boot-ms", "90"])
            .args(["--trust-password", "sesame"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let printed = simulator.stdout.take().context("its output")?;
        // Kept to the end: a program whose output nobody takes cannot go on.
        let mut lines = BufReader::new(printed).lines();
        let first = tokio::time::timeout(PATIENCE, lines.next_line());
        let url = first.await??.context("its address")?;

        let checked = tokio::process::Command::new(program)
            .args(["-url", &url, "-password", "sesame", "-app", APP])
            .arg("-cert")
            .arg(client.certificate)
            .arg("-key")
            .arg(client.key)
            .kill_on_drop(true)
            .output();
        let checked = tokio::time::timeout(2 * PATIENCE, checked).await??;
        print!("{}", said(&checked));
        ensure!(checked.status.success(), "the simulator is not as the Go client needs it");
        simulator.kill().await?;
        Ok(())
    });
}
