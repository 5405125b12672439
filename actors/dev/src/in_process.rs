//! The stack of a test: NATS and coturn are processes, all else runs here.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::Context;
use stream_agent::agent::{Agent, AgentConfig};
use stream_agent::gateway::{Gateway, GatewayConfig};
use stream_gateway::admin;
use stream_protocol::subjects::NatsUser;
use stream_simulators::ams::{Ams, Launcher, simulated_instances};
use stream_simulators::client::{self, ClientConfig};
use toml::{Table, toml};

pub use crate::ams::APPLICATION;
use crate::coturn::Coturn;
use crate::faulty_proxy::FaultyProxy;
use crate::keys::KeyStore;
use crate::nats::Nats;
use crate::node_files::{NodeFiles, StackConfig, merge};

/// How long all parts together may take until the first session can be asked for.
const READY_WITHIN: Duration = Duration::from_secs(60);

const READY_POLL: Duration = Duration::from_millis(20);

/// What a stack is made of.
#[derive(Clone)]
pub struct Options {
    /// The address of this machine where agent and gateway listen.
    pub host: IpAddr,
    /// Whether there is a relay; it must be installed then.
    pub coturn: bool,
    /// From the creation of an instance until it runs.
    pub boot: Duration,
    /// Room for so many instances.
    pub capacity: usize,
    /// What an instance runs.
    pub launcher: Launcher,
    /// Whether the agent reaches AMS through a proxy that can cut it off.
    pub ams_proxy: bool,
    /// Whether operators can make actors fail.
    pub faults: bool,
    /// Whether NATS permits each service what it needs and no more, with the reference
    /// `nats-server-accounts.conf`. True by default where `STREAM_LEAST_PRIVILEGE` is set, so that
    /// every flow can be run either way; those about the token need it.
    pub least_privilege: bool,
    /// Keys of every `agent.toml`, by section.
    pub agent: Table,
    /// Keys of every `gateway.toml`, by section.
    pub gateway: Table,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.into(),
            coturn: false,
            boot: Duration::ZERO,
            capacity: crate::ams::CAPACITY,
            launcher: simulated_instances(),
            ams_proxy: false,
            faults: false,
            least_privilege: std::env::var_os("STREAM_LEAST_PRIVILEGE").is_some(),
            agent: Table::new(),
            gateway: Table::new(),
        }
    }
}

/// A running stack, and the token of an account. Dropping it ends everything; [`Stack::stop`] does
/// so in order.
pub struct Stack {
    pub agent: Agent,
    pub gateway: Gateway,
    pub ams: Ams,
    /// Between agent and AMS.
    pub ams_proxy: Option<FaultyProxy>,
    pub coturn: Option<Coturn>,
    pub nats: Nats,
    pub nodes: NodeFiles,
    pub config: StackConfig,
    /// The token of the account `test`.
    pub token: String,
    _dir: tempfile::TempDir,
}

impl Stack {
    /// Starts a stack in a directory of its own, and returns once a session can be asked for.
    /// Needs a running actix system, on a thread that stays.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let keys = KeyStore::shared()?;
        let nodes = NodeFiles::prepare(&dir.path().join("nodes"), &keys)?;
        let nodes = NodeFiles { host: options.host, agent_host: options.host, ..nodes };
        let start = match options.least_privilege {
            true => Nats::start_least_privilege,
            false => Nats::start,
        };
        let nats = start(&dir.path().join("nats"), &keys)?;
        let secret = nodes.turn_secret()?;
        let relay = || Coturn::start(&dir.path().join("coturn"), &secret);
        let coturn = options.coturn.then(relay).transpose()?;
        let ams = super::ams::start(&nodes, options.boot, options.capacity, options.launcher)?;
        let ams_proxy =
            if options.ams_proxy { Some(FaultyProxy::to(nodes.ams_port).await?) } else { None };
        let mut config = StackConfig {
            // Each service is told its own nkey.
            nats: stream_bridge::Config { nkey: None, ..nats.bridge() },
            ams: match &ams_proxy {
                Some(proxy) => format!("https://127.0.0.1:{}", proxy.port()),
                None => nodes.ams_url(),
            },
            ams_pin: ams.fingerprint(),
            turn: coturn.iter().map(Coturn::url).collect(),
            faults: options.faults,
            agents: None,
            gateways: None,
            // A test does not wait for what is not its matter.
            agent: toml! {
                agent.boot_timeout_s = 60
                agent.sweep_s = 2
                agent.sighting_s = 1
            },
            gateway: options.gateway,
        };
        let nkey = |user| nkey(&nats.bridge_as(user));
        merge(&mut config.agent, nkey(NatsUser::Agent));
        merge(&mut config.gateway, nkey(NatsUser::Gateway));
        config.override_agent(options.agent);
        let agent = Agent::start(AgentConfig::read(&nodes.write_agent(&config)?)?)?;
        let gateway = GatewayConfig::read(&nodes.write_gateway(&config)?)?;
        let gateway = Gateway::start(gateway)?;
        let token = account(&nodes, "test").await?;
        let stack =
            Self { agent, gateway, ams, ams_proxy, coturn, nats, nodes, config, token, _dir: dir };
        wait_for_agent(&stack.client()?).await?;
        Ok(stack)
    }

    /// A client of the gateway, as the account `test`.
    pub fn client(&self) -> anyhow::Result<client::Gateway> {
        Ok(client::Gateway::new(&client_config(&self.nodes, &self.token)?)?)
    }

    /// Starts one more agent, called `name`, with the certificate of the first.
    pub fn another_agent(&self, name: &str) -> anyhow::Result<(NodeFiles, Agent)> {
        self.another_agent_with(name, "agent")
    }

    /// Starts one more agent, called `name`, with the certificate of the pair called `pair`.
    pub fn another_agent_with(&self, name: &str, pair: &str) -> anyhow::Result<(NodeFiles, Agent)> {
        let nodes = self.nodes.join(name, pair, &KeyStore::shared()?)?;
        let agent = Agent::start(AgentConfig::read(&nodes.write_agent(&self.config)?)?)?;
        Ok((nodes, agent))
    }

    /// Starts one more gateway, in the directory `name`.
    pub fn another_gateway(&self, name: &str) -> anyhow::Result<(NodeFiles, Gateway)> {
        let nodes = self.nodes.join_gateway(name, &KeyStore::shared()?)?;
        let gateway = GatewayConfig::read(&nodes.write_gateway(&self.config)?)?;
        Ok((nodes, Gateway::start(gateway)?))
    }

    /// Ends the agent and starts another in its place, with the same configuration; returns once a
    /// session can be asked for.
    pub async fn restart_agent(&mut self) -> anyhow::Result<()> {
        self.agent.stop().await;
        self.agent = Agent::start(AgentConfig::read(&self.nodes.dir.join("agent.toml"))?)?;
        // It has said that it is gone, and now says that it is back.
        wait_for_agent(&self.client()?).await
    }

    /// Ends the gateway, which closes its clients' sockets, and starts another in its place, with
    /// the same configuration.
    pub async fn restart_gateway(&mut self) -> anyhow::Result<()> {
        self.gateway.stop().await;
        let config = GatewayConfig::read(&self.nodes.dir.join("gateway.toml"))?;
        self.gateway = Gateway::start(config)?;
        Ok(())
    }

    /// Stops everything, the last one started first.
    pub async fn stop(mut self) {
        self.gateway.stop().await;
        self.agent.stop().await;
        self.ams.stop().await;
        self.nats.stop();
    }
}

/// The keys that tell a service its nkey, if it has one.
fn nkey(config: &stream_bridge::Config) -> Table {
    let keys = config.nkey.as_ref().map(|path| path.display().to_string());
    keys.map(|path| toml! { nats.nkey = path }).unwrap_or_default()
}

/// How a client with `token` reaches the gateway of `nodes`.
pub fn client_config(nodes: &NodeFiles, token: &str) -> anyhow::Result<ClientConfig> {
    Ok(ClientConfig {
        gateway: nodes.gateway_url(),
        token: token.to_owned(),
        pins: vec![nodes.gateway_pin()?],
        screen: stream_simulators::SMALL_SCREEN,
    })
}

/// Creates an account and returns its token, as soon as the gateway has its keys.
pub async fn account(nodes: &NodeFiles, name: &str) -> anyhow::Result<String> {
    let client = admin::Client::new(nodes.admin_socket());
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        match client.create_account(name, None, Default::default()).await {
            Ok(token) => return Ok(token),
            Err(error) if Instant::now() > deadline => {
                return Err(error).context("the gateway is not ready in time");
            }
            Err(_) => tokio::time::sleep(READY_POLL).await,
        }
    }
}

/// Returns once the gateway knows an agent that has the application of every stack.
pub async fn wait_for_agent(client: &client::Gateway) -> anyhow::Result<()> {
    wait_for_applications(client, &[APPLICATION]).await
}

/// Returns once the gateway knows agents that have all `applications`.
pub async fn wait_for_applications(
    client: &client::Gateway,
    applications: &[&str],
) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        match client.applications().await {
            Ok(names) => {
                let is_missing = |wanted: &&&str| !names.iter().any(|name| name == **wanted);
                let Some(missing) = applications.iter().find(is_missing) else { return Ok(()) };
                anyhow::ensure!(
                    Instant::now() <= deadline,
                    "the gateway sees no agent with the application {missing}"
                );
                tokio::time::sleep(READY_POLL).await;
            }
            Err(error) if Instant::now() > deadline => {
                return Err(error).context("the gateway is not ready in time");
            }
            _ => tokio::time::sleep(READY_POLL).await,
        }
    }
}
