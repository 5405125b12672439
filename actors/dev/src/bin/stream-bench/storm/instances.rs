//! Instances whose agent is killed, which is the only one.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, ensure};
use stream_dev::in_process::{Options, Stack, wait_for_agent};
use stream_dev::keys::KeyStore;
use stream_dev::node_files::NodeFiles;
use stream_dev::process::Process;
use stream_protocol::Userdata;
use stream_simulators::ams::scripted_instances;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::idle_sockets::{Counts, Owner, open_all};
use super::super::report::Figure;
use super::super::unit;

const INSTANCES: usize = 2_000;

const BOOT_WITHIN: Duration = Duration::from_secs(30);

const AGENT: &str = "stream-agent";

struct Agent {
    process: Process,
    nodes: NodeFiles,
    config: PathBuf,
}

impl Agent {
    fn start(stack: &Stack) -> anyhow::Result<Self> {
        let nodes = stack.nodes.join("measured-agent", "agent-2", &KeyStore::shared()?)?;
        let config = nodes.write_agent(&stack.config)?;
        Ok(Self { process: unit::run(AGENT, &nodes, &config)?, nodes, config })
    }

    /// Kills it and starts it again at once, without waiting for it.
    fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill();
        self.process = unit::run(AGENT, &self.nodes, &self.config)?;
        Ok(())
    }
}

pub(super) async fn after_kill() -> anyhow::Result<Vec<Figure>> {
    let (told, mut boots) = mpsc::unbounded_channel();
    let options = Options { launcher: scripted_instances(told), ..unit::options() };
    let stack = Stack::start(options).await?;
    stack.agent.stop().await;
    let mut agent = Agent::start(&stack)?;
    let client = stack.client()?;
    wait_for_agent(&client).await?;
    unit::create(&stack, INSTANCES).await?;
    let mut instances = Vec::with_capacity(INSTANCES);
    for _ in 0..INSTANCES {
        let boot = timeout(BOOT_WITHIN, boots.recv()).await?.context("AMS is gone")?;
        let Userdata { session_id, token, .. } = serde_json::from_str(&boot.user_data)?;
        let path = format!("/1.0/sessions/{session_id}/sockets/control");
        instances.push(Owner::Instance { path, token });
    }
    let (counts, port) = (Rc::<Counts>::default(), agent.nodes.agent_port);
    open_all(port, instances, &counts, true).await?;
    let seen =
        super::kill(&counts, &mut agent, |agent| agent.process.pid(), Agent::restart).await?;
    let names = ["instances back", "instances resumed", "agent's memory after"];
    let mut figures = Vec::from(seen.figures(names));
    let left = client.list().await?.len() as f64;
    figures.push(Figure::higher("sessions left", "", left, ("all", INSTANCES as f64), 1.0));
    let there = stack.ams.instances().len();
    ensure!(there == INSTANCES, "{there} instances are there");
    stack.stop().await;
    Ok(figures)
}
