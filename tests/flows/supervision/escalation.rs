//! More failures than the supervisor can make good: a program of its own drains, says why, and ends
//! so that the service manager starts it again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::future::join;
use stream_dev::in_process::wait_for_agent;
use stream_dev::process::Process;
use stream_protocol::Screen;
use stream_supervisor::{EX_SOFTWARE, WatchdogConfig};
use tokio::process::Command;

use super::load::watcher;
use crate::support::{APP, Http, Instance, STEP_TIMEOUT, ScriptedStack, eventually, run_flow};

const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");
const GATEWAY: &str = env!("CARGO_BIN_EXE_stream-gateway");

/// An actor is restarted 15 times by itself; it is the next failure that its parent deals with,
/// three times. This is the last that is made good.
const BORNE: u32 = 4 * 16 - 1;

/// What the agent counts when it answers two requests.
const IN_HAND: &str = "anbox_stream_agent_http_in_flight_requests 2";

/// A service as a process of its own, in the place of that of the stack, which can be made to fail.
struct Service {
    program: &'static str,
    socket: PathBuf,
    process: Process,
}

impl Service {
    async fn agent(scripted: &mut ScriptedStack) -> anyhow::Result<Self> {
        let stack = &mut scripted.stack;
        stack.config.faults = true;
        stack.agent.stop().await;
        let config = stack.nodes.write_agent(&stack.config)?;
        Self::start(AGENT, &config, stack.nodes.agent_socket(), stack.nodes.agent_port)
    }

    async fn gateway(scripted: &mut ScriptedStack) -> anyhow::Result<Self> {
        let stack = &mut scripted.stack;
        stack.config.faults = true;
        stack.gateway.stop().await;
        let config = stack.nodes.write_gateway(&stack.config)?;
        let (socket, port) = (stack.nodes.admin_socket(), stack.nodes.gateway_port);
        let service = Self::start(GATEWAY, &config, socket, port);
        wait_for_agent(&scripted.client).await?;
        service
    }

    fn start(
        program: &'static str,
        config: &Path,
        socket: PathBuf,
        port: u16,
    ) -> anyhow::Result<Self> {
        let log = config.with_extension("log");
        let arguments = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
        let mut process = Process::start("the service", Path::new(program), &arguments, &log)?;
        process.wait_for_port(port, STEP_TIMEOUT)?;
        Ok(Self { program, socket, process })
    }

    async fn crash(&self, words: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(self.program);
        command.arg("crash").args(words).arg("--socket").arg(&self.socket).kill_on_drop(true);
        let output = tokio::time::timeout(STEP_TIMEOUT, command.output()).await??;
        ensure!(output.status.success(), "{words:?}: {output:?}");
        Ok(())
    }

    /// How often an actor was restarted.
    async fn restarts(&self, actor: &str) -> anyhow::Result<u64> {
        let status = stream_admin::Client::new(&self.socket).status().await?;
        let actor = status.actors.iter().find(|one| one.name == actor);
        Ok(actor.context("an actor")?.restarts)
    }

    fn log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.process.log())?)
    }

    /// Waits until it ends, as a supervisor that gave up has it: with 70, and not by force.
    async fn gives_up(&mut self, within: Duration) -> anyhow::Result<String> {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.process.ended() {
                break status;
            }
            ensure!(begun.elapsed() < within, "it lives on:\n{}", self.process.last_words());
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let log = self.log()?;
        ensure!(status.code() == Some(EX_SOFTWARE), "{status}:\n{log}");
        ensure!(!log.contains("the program did not stop"), "{log}");
        Ok(log)
    }
}

/// Creates a session whose instance runs, as soon as the agent takes it.
async fn running(scripted: &mut ScriptedStack) -> anyhow::Result<Instance> {
    let client = &scripted.client;
    let create = async || Ok(client.create(APP, Screen::default()).await.ok());
    eventually("created", create).await?;
    let instance = scripted.booted().await?;
    ensure!(instance.report("running").await?.status == 200);
    Ok(instance)
}

fn count(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

async fn revision(instance: &Instance) -> anyhow::Result<u64> {
    instance.commands(0, 0).await?["revision"].as_u64().context("a revision")
}

/// Asks for news of a session that has none after `revision`, and is answered although the unit
/// ends meanwhile.
async fn is_answered(instance: &Instance, revision: u64) -> anyhow::Result<()> {
    let path = instance.path(&format!("/commands?after={revision}&wait=55"));
    // On a connection of its own: the other one may be that of a server that was replaced.
    let userdata = &instance.userdata;
    let pin = userdata.fingerprints.first().context("a fingerprint")?.parse()?;
    let http = Http::new(&userdata.agent_url, Some(&userdata.token), pin)?;
    let answer = http.get(&path).await.context("cut off")?;
    ensure!([200, 503].contains(&answer.status.as_u16()), "{answer:?}");
    Ok(())
}

#[test]
fn an_agent_with_an_actor_that_fails_too_often_answers_what_it_has_in_hand_and_ends_with_70() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let watcher = watcher(&scripted.stack).await?;
        let mut agent = Service::agent(&mut scripted).await?;
        let instance = running(&mut scripted).await?;

        agent.crash(&["turn", "--at-once", "--times", &BORNE.to_string()]).await?;
        eventually("restarted", async || {
            Ok((agent.restarts("turn").await? == u64::from(BORNE)).then_some(()))
        })
        .await?;
        // By their parent, with those that were started after it; a restart that begins while the
        // last one is under way replaces it.
        assert!((1..=3).contains(&agent.restarts("api").await?));
        assert_eq!(agent.restarts("tokens").await?, 0);
        let log = agent.log()?;
        assert_eq!(count(&log, "actor turn failed too often, its parent decides: panic: "), 3);

        let revision = revision(&instance).await?;
        let one_more = async {
            // Not before the agent has the request in hand, beside that for the page itself.
            eventually("in hand", async || {
                let page = watcher.get("/metrics").await?;
                let page = page.body.as_str().unwrap_or_default();
                Ok(page.lines().any(|line| line == IN_HAND).then_some(()))
            })
            .await?;
            agent.crash(&["turn"]).await
        };
        let (answered, crashed) = join(is_answered(&instance, revision), one_more).await;
        crashed?;
        let log = agent.gives_up(WatchdogConfig::default().drain).await?;
        answered.with_context(|| log.clone())?;
        assert_eq!(count(&log, "actor turn failed too often, its parent decides: panic: "), 4);
        let cause = "giving up, the program has 30s to stop: panic: crashed on request";
        assert_eq!(count(&log, cause), 1, "{log}");
        assert_eq!(count(&log, "error: the supervisor gave up: panic: crashed on request"), 1);
        Ok(())
    });
}

#[test]
fn a_gateway_with_an_actor_that_fails_too_often_ends_with_70() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let mut gateway = Service::gateway(&mut scripted).await?;
        let times = (BORNE + 1).to_string();
        gateway.crash(&["tokens", "--error", "--at-once", "--times", &times]).await?;
        let log = gateway.gives_up(WatchdogConfig::default().drain).await?;
        let cause = "giving up, the program has 30s to stop: error: failed on request";
        assert_eq!(count(&log, cause), 1, "{log}");
        Ok(())
    });
}

#[test]
fn an_agent_with_a_thread_that_is_stuck_says_whose_drains_the_others_and_ends_with_70() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let mut agent = Service::agent(&mut scripted).await?;
        let instance = running(&mut scripted).await?;

        let revision = revision(&instance).await?;
        agent.crash(&["turn", "--wedge"]).await?;
        let WatchdogConfig { heartbeat, drain, .. } = WatchdogConfig::default();
        let (answered, log) =
            join(is_answered(&instance, revision), agent.gives_up(2 * heartbeat + drain)).await;
        let log = log?;
        answered.with_context(|| log.clone())?;
        let cause = "giving up, the program has 30s to stop: the thread of actor turn is stuck";
        assert_eq!(count(&log, cause), 1, "{log}");
        assert_eq!(count(&log, "did not finish within"), 1, "turn alone: {log}");
        assert_eq!(count(&log, "actor turn did not finish within"), 1, "{log}");
        Ok(())
    });
}

#[test]
fn a_service_that_is_not_under_test_cannot_be_stuck_on_request() {
    run_flow(async || {
        let scripted = ScriptedStack::start().await?;
        let socket = scripted.stack.nodes.agent_socket();
        let mut command = Command::new(AGENT);
        command.args(["crash", "turn", "--wedge", "--at-once", "--socket"]).arg(&socket);
        let output =
            tokio::time::timeout(STEP_TIMEOUT, command.kill_on_drop(true).output()).await??;
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("yes_for_test_purposes_only"));
        let nodes = &scripted.stack.nodes;
        let agent = Http::new(&nodes.agent_url(), None, nodes.agent_pin()?)?;
        assert_eq!(agent.get("/1.0/health/ready").await?.status, 200);
        Ok(())
    });
}
