//! Relays that come and go while an agent runs.

use std::path::Path;

use anyhow::{Context, ensure};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::Value;
use stream_dev::coturn::Coturn;
use stream_dev::in_process::{Options, Stack, wait_for_agent};
use stream_dev::process::Process;
use stream_protocol::IceServer;
use stream_turn::{Config, RelayState};
use tokio::process::Command;
use toml::toml;

use super::relays::{PROBE, Relays};
use crate::support::socket::Socket;
use crate::support::{Http, ScriptedStack, eventually, run_flow};

const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");

impl Relays {
    /// Has the actor take up these of the relays, and no other; returns the first URLs of those
    /// that came and those that went.
    async fn take_up(&self, relays: &[usize]) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let servers = relays.iter().map(|&n| self.config.servers[n].clone()).collect();
        let changes = self.turn.take_up(&Config { servers, ..self.config.clone() }).await?;
        ensure!(changes.changed.is_empty(), "{changes:?}");
        Ok((changes.added, changes.removed))
    }

    /// How often a relay was asked for an allocation so far.
    fn asked(&self, relay: usize) -> anyhow::Result<usize> {
        Ok(self.relays[relay].log()?.matches("ALLOCATE processed").count())
    }
}

#[test]
fn a_relay_that_is_removed_is_probed_no_more_and_one_that_is_added_is_probed_and_offered() {
    run_flow(async || {
        let mut bench = Relays::start(4, 3600).await?;
        let url = |n: usize| bench.relays[n].url();
        let (urls, secret) = ([url(0), url(1), url(2), url(3)], bench.secret.clone());
        assert_eq!(bench.take_up(&[0, 1, 2]).await?, (vec![], vec![urls[3].clone()]));
        assert_eq!(bench.handed_out().await?, [0, 1, 2].into());
        bench.relays[0].process().kill();
        assert!(bench.until(0, false, &[1, 2]).await? <= 2 * PROBE, "killed");

        let expected = (vec![urls[3].clone()], vec![urls[1].clone()]);
        assert_eq!(bench.take_up(&[0, 2, 3]).await?, expected);
        assert_eq!(bench.handed_out().await?, [2, 3].into(), "who stays is still withheld");
        let probed = bench.turn.probe().await?;
        let shown: Vec<_> = probed.iter().map(|row| row.server.as_str()).collect();
        assert_eq!(shown, [&urls[0], &urls[2], &urls[3]]);
        assert_eq!(probed[0].state, RelayState::Withheld);
        assert!(bench.turn.drain(&urls[1], true).await.is_err(), "nobody knows it any more");

        let added = bench.asked(3)?;
        let asked = async |times| Ok((bench.asked(3)? >= added + times).then_some(()));
        eventually("probed", async || asked(2).await).await?;
        // A probe that was cut off may have come that far.
        let removed = bench.asked(1)?;
        eventually("probed again and again", async || asked(8).await).await?;
        assert_eq!(bench.asked(1)?, removed, "nobody probes it any more");
        bench.relays[0].restart(&[&secret])?;
        assert!(bench.until(0, true, &[2, 3]).await? <= 3 * PROBE, "restarted");
        bench.relays[3].process().kill();
        assert!(bench.until(3, false, &[0, 2]).await? <= 2 * PROBE, "killed");

        let mut bad = bench.config.clone();
        bad.servers[0].urls = vec!["turn:".to_owned()];
        assert!(bench.turn.take_up(&bad).await.is_err());
        assert_eq!(bench.handed_out().await?, [0, 2].into(), "all or nothing");
        // What was taken up outlives the actor.
        bench.crash();
        eventually("rebuilt", async || Ok(bench.turn.ready().await.ok())).await?;
        assert_eq!(bench.handed_out().await?, [0, 2].into());
        Ok(())
    });
}

/// An agent that runs as a program, for a stack whose own has ended.
struct Program {
    process: Process,
}

impl Program {
    async fn start(stack: &Stack) -> anyhow::Result<Self> {
        stack.agent.stop().await;
        let (config, log) = (stack.nodes.dir.join("agent.toml"), stack.nodes.dir.join("agent.log"));
        let arguments = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
        let process = Process::start("agent", Path::new(AGENT), &arguments, &log)?;
        let agent = Http::new(&stack.nodes.agent_url(), None, stack.nodes.agent_pin()?)?;
        eventually("ready", async || {
            let ready = agent.get("/1.0/health/ready").await;
            Ok(ready.is_ok_and(|answer| answer.status == 200).then_some(()))
        })
        .await?;
        // It is ready before the gateways have heard of it.
        wait_for_agent(&stack.client()?).await?;
        Ok(Self { process })
    }

    /// Has it read its files again, and returns the lines that it has logged when one of them
    /// holds `words`.
    async fn reload(&self, words: &str) -> anyhow::Result<String> {
        let log = || anyhow::Ok(std::fs::read_to_string(self.process.log())?);
        let before = log()?.len();
        self.process.signal(Signal::HUP)?;
        eventually(words, async || {
            let said = log()?.split_off(before);
            let whole = said.lines().any(|line| line.contains(words)) && said.ends_with('\n');
            Ok(whole.then_some(said))
        })
        .await
    }
}

fn urls(servers: &Value) -> anyhow::Result<Vec<String>> {
    let servers: Vec<IceServer> = serde_json::from_value(servers.clone())?;
    Ok(servers.into_iter().map(|server| server.urls[0].clone()).collect())
}

/// Returns the ICE servers that the client is told over its socket.
async fn told(socket: &mut Socket) -> anyhow::Result<Vec<String>> {
    loop {
        let message = socket.next().await?;
        if message["type"] == "ice_servers" {
            return urls(&message["ice_servers"]);
        }
    }
}

#[test]
fn an_agent_takes_up_another_relay_on_sighup_and_nothing_of_a_file_that_is_refused() {
    run_flow(async || {
        let options = Options { coturn: true, ..Options::default() };
        let mut scripted = ScriptedStack::start_with(options).await?;
        let first = scripted.stack.coturn.as_ref().context("the relay")?.url();
        let (dir, secret) = (scripted.stack.nodes.dir.clone(), scripted.stack.nodes.turn_secret()?);
        let agent = Program::start(&scripted.stack).await?;
        let (created, instance) = scripted.create().await?;
        instance.report("running").await?.success()?;
        let mut socket = Socket::open(&created, &scripted.stack).await?;

        let relay = Coturn::start(&dir.join("second"), &secret)?;
        let second = relay.url();
        scripted.stack.config.turn.push(second.clone());
        let file = scripted.stack.nodes.write_agent(&scripted.stack.config)?;
        let said = agent.reload("relays and STUN servers are other ones").await?;
        ensure!(said.contains(&format!("added=[{second:?}] removed=[] changed=[]")), "{said}");
        assert_eq!(told(&mut socket).await?, [&*first, &*second], "who is there already");
        assert_eq!(instance.commands(0, 0).await?["ice_renewal"], 1);
        let path = instance.path("/ice-servers");
        let fetched = instance.http.send(Method::POST, &path, None).await?.success()?;
        assert_eq!(urls(&fetched)?, [&*first, &*second]);
        let joined = async || {
            let joined = scripted.client.join(&created.id).await?;
            let first_urls = joined.stun_servers.iter().map(|server| server.urls[0].clone());
            anyhow::Ok((first_urls.collect::<Vec<_>>(), joined))
        };
        assert_eq!(joined().await?.0, [&*first, &*second], "who comes then");

        let good = std::fs::read_to_string(&file)?;
        let broken = good.replace(&first, "turn:") + "\nservers =\n";
        let line = good.lines().count() + 2;
        let no_url = good.replace(&first, "turn:");
        for (bad, cause) in [
            (broken, format!("{}:{line}: ", file.display())),
            (no_url, "[turn]: turn.servers: turn: is not of the form".to_owned()),
        ] {
            std::fs::write(&file, bad)?;
            let said = agent.reload("the configuration is refused").await?;
            let errors: Vec<_> = said.lines().filter(|line| line.contains("ERROR")).collect();
            ensure!(errors.len() == 1 && errors[0].contains(&cause), "{cause}: {said}");
            ensure!(!said.contains("relays and STUN"), "{said}");
            assert_eq!(joined().await?.0, [&*first, &*second], "nothing has changed");
        }

        scripted.stack.config.turn.remove(0);
        scripted.stack.config.override_agent(toml! { agent.sweep_s = 3 turn.probe_s = 3 });
        scripted.stack.nodes.write_agent(&scripted.stack.config)?;
        let (_, created) = joined().await?;
        let mut socket = Socket::open(&created, &scripted.stack).await?;
        let said = agent.reload("these keys change with a restart only").await?;
        ensure!(said.contains(&format!("added=[] removed=[{first:?}]")), "{said}");
        ensure!(said.contains(r#"keys=agent.sweep_s turn.probe_s"#), "{said}");
        assert_eq!(told(&mut socket).await?, [&*second]);
        let mut shown = Command::new(AGENT);
        shown.args(["turn", "probe", "--socket"]).arg(scripted.stack.nodes.agent_socket());
        let shown = String::from_utf8(shown.kill_on_drop(true).output().await?.stdout)?;
        ensure!(shown.contains(&second) && !shown.contains(&first), "{shown}");

        // They still wait for a restart.
        let said = agent.reload("these keys change with a restart only").await?;
        ensure!(said.contains("relays and STUN servers are the same as before"), "{said}");
        assert_eq!(instance.commands(0, 0).await?["ice_renewal"], 2, "nothing to be told");
        Ok(())
    });
}
