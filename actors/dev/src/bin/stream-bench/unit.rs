//! The gateway that is measured: a process of its own on a core of its own, beside a stack that
//! makes its sessions.

use std::path::{Path, PathBuf};

use futures_util::future::try_join_all;
use stream_dev::ams::APPLICATION;
use stream_dev::in_process::{Options, Stack, client_config, wait_for_agent};
use stream_dev::keys::{KeyStore, Pair};
use stream_dev::node_files::{NodeFiles, StackConfig, merge};
use stream_dev::process::{Process, beside_us};
use stream_http::HttpConfig;
use stream_simulators::ams::idle_instances;
use stream_simulators::client::Gateway;
use toml::{Table, toml};

use super::process_usage::start_on_server_core;

const GATEWAY: &str = "stream-gateway";

/// Sessions that are created at the same time.
const CREATING: usize = 16;

/// A stack whose instances boot at once and never attach, and the gateway beside its own.
pub(super) struct Unit {
    pub(super) process: Process,
    pub(super) port: u16,
    pub(super) pair: Pair,
    pub(super) stack: Stack,
    nodes: NodeFiles,
    config: PathBuf,
}

impl Unit {
    /// Starts both; the limits of the gateway are the defaults, but for what `keys` say. Returns
    /// once it sees the agent.
    pub(super) async fn start(keys: Table) -> anyhow::Result<Self> {
        let stack = Stack::start(options()).await?;
        let store = KeyStore::shared()?;
        let nodes = stack.nodes.join_gateway("measured", &store)?;
        let mut config = with_default_limits(&stack.config)?;
        merge(&mut config.gateway, keys);
        let config = nodes.write_gateway(&config)?;
        let process = run(GATEWAY, &nodes, &config)?;
        let (port, pair) = (nodes.gateway_port, store.pair("gateway")?);
        let unit = Self { process, port, pair, stack, nodes, config };
        unit.ready().await?;
        Ok(unit)
    }

    /// Returns once the gateway sees the agent.
    pub(super) async fn ready(&self) -> anyhow::Result<()> {
        let client = Gateway::new(&client_config(&self.nodes, &self.stack.token)?)?;
        wait_for_agent(&client).await
    }

    /// Kills the gateway and starts it again at once, without waiting for it.
    pub(super) fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill();
        self.process = run(GATEWAY, &self.nodes, &self.config)?;
        Ok(())
    }

    /// Has the gateway of the stack create sessions. Returns their ids, and for each the path and
    /// the query of its socket.
    pub(super) async fn create(&self, count: usize) -> anyhow::Result<Vec<(String, String)>> {
        create(&self.stack, count).await
    }
}

/// A stack whose instances boot at once and never attach.
pub(super) fn options() -> Options {
    let agent = toml! { agent.capacity = 20_000 agent.boot_timeout_s = 600 agent.sweep_s = 30 };
    Options { launcher: idle_instances(), agent, ..Options::default() }
}

/// Returns `stack` with gateways whose limits are the defaults.
pub(super) fn with_default_limits(stack: &StackConfig) -> anyhow::Result<StackConfig> {
    let mut config = stack.clone();
    config.gateway = toml! {
        gateway.requests_per_second = 50
        gateway.share_join_interval_s = 5
    };
    config.gateway.insert("http".to_owned(), Table::try_from(HttpConfig::default())?.into());
    Ok(config)
}

/// Has the gateway of `stack` create sessions, as [`Unit::create`] does.
pub(super) async fn create(stack: &Stack, count: usize) -> anyhow::Result<Vec<(String, String)>> {
    let share = count / CREATING;
    let clients = (0..CREATING).map(|_| stack.client());
    let clients = clients.collect::<anyhow::Result<Vec<_>>>()?;
    let created = clients.iter().map(async |client| {
        let mut created = Vec::with_capacity(share);
        for _ in 0..share {
            let session = client.create(APPLICATION, Default::default()).await?;
            let url = session.url.strip_prefix("wss://").unwrap_or_default();
            let (_, path) = url.split_once('/').unwrap_or_default();
            created.push((session.id, format!("/{path}")));
        }
        anyhow::Ok(created)
    });
    Ok(try_join_all(created).await?.into_iter().flatten().collect())
}

/// Starts the service called `name`, on a core of its own.
pub(super) fn run(name: &'static str, nodes: &NodeFiles, config: &Path) -> anyhow::Result<Process> {
    let (program, log) = (beside_us(name)?, nodes.dir.join(format!("{name}.log")));
    start_on_server_core(name, &program, &[&"run", &"--config", &config.display()], &log)
}
