//! Several agents and gateways as processes of their own, behind a balancer each.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use stream_bridge::Bridge;
use stream_dev::faketime;
use stream_dev::faulty_proxy::FaultyProxy;
use stream_dev::in_process::{Options, Stack, client_config, wait_for_agent};
use stream_dev::keys::KeyStore;
use stream_dev::node_files::NodeFiles;
use stream_dev::process::Process;
use stream_protocol::subjects::Bucket;
use stream_protocol::{Presence, SessionDocument};
use stream_simulators::client::Gateway;
use stream_supervisor::Supervisor;
use tokio::net::TcpStream;

use super::{Http, eventually};

/// How long a unit may take to serve, and to end.
const UNIT_TIMEOUT: Duration = Duration::from_secs(60);

const UNIT_POLL: Duration = Duration::from_millis(20);

/// The stack of a test whose own agent and gateway have made the keys and then given way.
pub(crate) struct Fleet {
    pub(crate) agents: Vec<Unit>,
    pub(crate) gateways: Vec<Unit>,
    pub(crate) bridge: Bridge,
    /// Of the account `test`, through the balancer.
    pub(crate) http: Http,
    pub(crate) stack: Stack,
    _balancers: [FaultyProxy; 2],
}

/// One agent or gateway.
pub(crate) struct Unit {
    pub(crate) nodes: NodeFiles,
    pub(crate) process: Process,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Agent,
    Gateway,
}

impl Unit {
    async fn start(nodes: NodeFiles, kind: Kind) -> anyhow::Result<Self> {
        Self::start_under(nodes, kind, &[]).await
    }

    /// Starts it as what the command `wrapper` runs.
    async fn start_under(nodes: NodeFiles, kind: Kind, wrapper: &[&str]) -> anyhow::Result<Self> {
        let (program, config, port) = match kind {
            Kind::Agent => (env!("CARGO_BIN_EXE_stream-agent"), "agent.toml", nodes.agent_port),
            Kind::Gateway => {
                (env!("CARGO_BIN_EXE_stream-gateway"), "gateway.toml", nodes.gateway_port)
            }
        };
        let config = nodes.dir.join(config);
        let own = [program.as_ref(), "run".as_ref(), "--config".as_ref(), config.as_os_str()];
        let words: Vec<&OsStr> = wrapper.iter().map(OsStr::new).chain(own).collect();
        let log = nodes.dir.join("log");
        let mut process = Process::start(program, Path::new(words[0]), &words[1..], &log)?;
        let serves = async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok();
        let begun = Instant::now();
        while !serves().await {
            let ended = process.ended();
            anyhow::ensure!(ended.is_none(), "{ended:?}: {}", process.last_words());
            anyhow::ensure!(begun.elapsed() < UNIT_TIMEOUT, "not ready: {}", process.last_words());
            tokio::time::sleep(UNIT_POLL).await;
        }
        Ok(Self { nodes, process, kind })
    }

    /// Starts it again, after it was killed or has ended.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        *self = Self::start(self.nodes.clone(), self.kind).await?;
        Ok(())
    }

    /// Kills it without a warning, and starts it again.
    pub(crate) async fn replace(&mut self) -> anyhow::Result<()> {
        self.process.kill();
        self.restart().await
    }

    /// Kills it, and starts it again with a clock that is `ahead`, such as `+120s`.
    pub(crate) async fn replace_ahead(&mut self, ahead: &str) -> anyhow::Result<()> {
        self.replace_under(&faketime::ahead(ahead)).await
    }

    /// Kills it, and starts it again with a clock that is as far ahead as `file` says at any time.
    pub(crate) async fn replace_with_clock_of(&mut self, file: &Path) -> anyhow::Result<()> {
        self.replace_under(&faketime::from_file(file)).await
    }

    /// Kills it, and starts it again with clocks that are all `ahead`, also the one that measures
    /// pauses.
    pub(crate) async fn replace_all_ahead(&mut self, ahead: &str) -> anyhow::Result<()> {
        self.replace_under(&faketime::all_ahead(ahead)).await
    }

    async fn replace_under(&mut self, variables: &[String]) -> anyhow::Result<()> {
        self.process.kill();
        let variables = variables.iter().map(String::as_str);
        let wrapper: Vec<_> = std::iter::once("env").chain(variables).collect();
        *self = Self::start_under(self.nodes.clone(), self.kind, &wrapper).await?;
        Ok(())
    }

    /// The operator's socket.
    pub(crate) fn socket(&self) -> std::path::PathBuf {
        match self.kind {
            Kind::Agent => self.nodes.agent_socket(),
            Kind::Gateway => self.nodes.admin_socket(),
        }
    }

    /// Waits until it has ended, and well.
    pub(crate) async fn ends_well(&mut self) -> anyhow::Result<()> {
        let status = eventually("ended", async || Ok(self.process.ended())).await?;
        anyhow::ensure!(status.success(), "{status}: {}", self.process.last_words());
        Ok(())
    }
}

impl Fleet {
    /// Starts so many agents, which are called `agent-0` and so on, and gateways, and returns once
    /// all of them serve.
    pub(crate) async fn start(
        options: Options,
        agents: usize,
        gateways: usize,
    ) -> anyhow::Result<Self> {
        let mut stack = Stack::start(options).await?;
        let keys = KeyStore::shared()?;
        // Each shows another certificate behind the one address.
        let joined = |number: usize| {
            let pair = ["agent", "agent-2"][number % 2];
            stack.nodes.join(&format!("agent-{number}"), pair, &keys)
        };
        let agents: Vec<_> = (0..agents).map(joined).collect::<anyhow::Result<_>>()?;
        let joined = |number| stack.nodes.join_gateway(&format!("gateway-{number}"), &keys);
        let gateways: Vec<_> = (0..gateways).map(joined).collect::<anyhow::Result<_>>()?;
        let ports: Vec<_> = agents.iter().map(|nodes| nodes.agent_port).collect();
        let agents_balancer = FaultyProxy::among(&ports).await?;
        let ports: Vec<_> = gateways.iter().map(|nodes| nodes.gateway_port).collect();
        let gateways_balancer = FaultyProxy::among(&ports).await?;
        let behind = |balancer: &FaultyProxy| format!("https://127.0.0.1:{}", balancer.port());
        stack.config.agents = Some(behind(&agents_balancer));
        stack.config.gateways = Some(behind(&gateways_balancer));

        let mut units = [Vec::new(), Vec::new()];
        for nodes in agents {
            nodes.write_agent(&stack.config)?;
            units[0].push(Unit::start(nodes, Kind::Agent).await?);
        }
        for nodes in gateways {
            nodes.write_gateway(&stack.config)?;
            units[1].push(Unit::start(nodes, Kind::Gateway).await?);
        }
        let [agents, gateways] = units;
        stack.gateway.stop().await;
        stack.agent.stop().await;

        let nodes = &stack.nodes;
        let http =
            Http::new(&behind(&gateways_balancer), Some(&stack.token), nodes.gateway_pin()?)?;
        let bridge = Bridge::start(stack.nats.bridge(), "test", &Supervisor::default())?;
        let _balancers = [agents_balancer, gateways_balancer];
        let fleet = Self { agents, gateways, bridge, http, stack, _balancers };
        fleet.all_present().await?;
        for unit in &fleet.gateways {
            let client = client_config(&unit.nodes, &fleet.stack.token)?;
            wait_for_agent(&Gateway::new(&client)?).await?;
        }
        Ok(fleet)
    }

    /// Waits until every agent says that it is there, and nobody else does.
    pub(crate) async fn all_present(&self) -> anyhow::Result<()> {
        let expected: Vec<_> = self.agents.iter().map(|unit| unit.nodes.agent.clone()).collect();
        let all = async {
            loop {
                let present = self.bridge.list::<Presence>(Bucket::Agents).await;
                let mut names: Vec<_> =
                    present.unwrap_or_default().into_iter().map(|(name, _)| name).collect();
                names.sort();
                if names == expected {
                    return;
                }
                tokio::time::sleep(UNIT_POLL).await;
            }
        };
        tokio::time::timeout(UNIT_TIMEOUT, all).await.context("not all agents are present in time")
    }

    /// The agent called `name`.
    pub(crate) fn agent(&mut self, name: &str) -> anyhow::Result<&mut Unit> {
        self.agents.iter_mut().find(|unit| unit.nodes.agent == name).context("an agent of ours")
    }

    /// All sessions, whatever became of them.
    pub(crate) async fn documents(&self) -> anyhow::Result<Vec<SessionDocument>> {
        let all = self.bridge.list::<SessionDocument>(Bucket::Sessions).await?;
        Ok(all.into_iter().map(|(_, entry)| entry.value).collect())
    }
}
