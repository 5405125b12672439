//! The two nodes of a stack, as an operator would set them up: `init`, then a configuration file.

use std::path::{Path, PathBuf};

use anyhow::Context;
use stream_agent::init;
use stream_pki::{Fingerprint, create_private_dir};
use toml::Value;

use crate::keys::{KeyStore, Pair};
use crate::ports;

/// A directory with the secrets and certificates of an agent, a gateway and an AMS, and the ports
/// they are to listen on.
#[derive(Clone, Debug)]
pub struct NodeFiles {
    pub dir: PathBuf,
    /// Name of the agent.
    pub agent: String,
    pub agent_port: u16,
    pub gateway_port: u16,
    pub ams_port: u16,
    /// What AMS shows; the agent pins it.
    pub ams: Pair,
}

/// What the nodes are connected to, and how patient they are.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// `tls://host:port`
    pub nats: String,
    pub nats_ca: PathBuf,
    pub nats_token: PathBuf,
    /// `https://host:port`
    pub ams: String,
    pub ams_pin: Fingerprint,
    /// The URL of each relay; without one, streams are direct only.
    pub turn: Vec<String>,
    /// What a TURN credential is good for.
    pub credential_s: u64,
    /// What the token in a socket's address is good for.
    pub socket_token_s: u64,
    /// Between two of the page's fresh ones.
    pub reconnect_token_s: u64,
    /// How long a client without a socket may take to return.
    pub client_grace_s: u64,
    pub boot_timeout_s: u64,
    pub sweep_s: u64,
    pub sighting_s: u64,
    pub lease_s: u64,
    /// Sessions that an agent takes at the same time.
    pub capacity: u32,
    /// Whether operators can make actors fail.
    pub faults: bool,
    /// The URLs of balancers before the units, when there are such.
    pub agents: Option<String>,
    pub gateways: Option<String>,
}

impl NodeFiles {
    /// Sets up both nodes in `dir`, with keys from `keys`. What is there already stays.
    pub fn prepare(dir: &Path, keys: &KeyStore) -> anyhow::Result<Self> {
        keys.warm_up()?;
        create_private_dir(dir).with_context(|| format!("directory {}", dir.display()))?;
        let nodes = Self {
            dir: dir.to_owned(),
            agent: "dev".to_owned(),
            agent_port: ports::free(),
            gateway_port: ports::free(),
            ams_port: ports::free(),
            ams: keys.pair("ams")?,
        };
        let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        keys.install(&nodes.agent_dir())?;
        init::agent(&nodes.agent_dir(), &hosts, None)?;
        create_private_dir(nodes.gateway_dir())?;
        keys.pair("gateway")?.copy(&nodes.gateway_dir(), "server")?;
        init::gateway(&nodes.gateway_dir(), &hosts, None)?;
        Ok(nodes)
    }

    /// Sets up one more node for an agent called `name`, beside the first and with its sealing key.
    pub fn join(&self, name: &str, keys: &KeyStore) -> anyhow::Result<Self> {
        let nodes = Self {
            dir: self.dir.join(name),
            agent: name.to_owned(),
            agent_port: ports::free(),
            ..self.clone()
        };
        create_private_dir(&nodes.dir)?;
        keys.install(&nodes.agent_dir())?;
        let sealing_key = self.agent_dir().join("sealing.key");
        init::agent(&nodes.agent_dir(), &["127.0.0.1".to_owned()], Some(&sealing_key))?;
        Ok(nodes)
    }

    /// Sets up one more node for a gateway, in the directory `name`, beside the first and with its
    /// sealing key.
    pub fn join_gateway(&self, name: &str, keys: &KeyStore) -> anyhow::Result<Self> {
        let dir = self.dir.join(name);
        let nodes = Self { dir, gateway_port: ports::free(), ..self.clone() };
        create_private_dir(&nodes.dir)?;
        create_private_dir(nodes.gateway_dir())?;
        keys.pair("gateway")?.copy(&nodes.gateway_dir(), "server")?;
        let sealing_key = self.gateway_dir().join("sealing.key");
        init::gateway(&nodes.gateway_dir(), &["127.0.0.1".to_owned()], Some(&sealing_key))?;
        Ok(nodes)
    }

    pub fn agent_dir(&self) -> PathBuf {
        self.dir.join("agent")
    }

    pub fn gateway_dir(&self) -> PathBuf {
        self.dir.join("gateway")
    }

    pub fn agent_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.agent_port)
    }

    pub fn gateway_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.gateway_port)
    }

    pub fn ams_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ams_port)
    }

    /// The operator's socket of the agent.
    pub fn agent_socket(&self) -> PathBuf {
        self.agent_dir().join("run/admin.socket")
    }

    /// The operator's socket of the gateway.
    pub fn admin_socket(&self) -> PathBuf {
        self.gateway_dir().join("run/admin.socket")
    }

    /// What the relay and the agent share.
    pub fn turn_secret(&self) -> anyhow::Result<String> {
        let path = self.agent_dir().join("turn.secret");
        std::fs::read_to_string(&path).with_context(|| format!("file {}", path.display()))
    }

    /// The fingerprint of what the agent shows to instances.
    pub fn agent_pin(&self) -> anyhow::Result<Fingerprint> {
        pin(&self.agent_dir(), "server")
    }

    /// The fingerprint by which AMS knows the agent.
    pub fn ams_client_pin(&self) -> anyhow::Result<Fingerprint> {
        pin(&self.agent_dir(), "ams-client")
    }

    /// The fingerprint of what the gateway shows to clients.
    pub fn gateway_pin(&self) -> anyhow::Result<Fingerprint> {
        pin(&self.gateway_dir(), "server")
    }

    /// Writes `agent.toml` and returns its path.
    pub fn write_agent(&self, stack_config: &StackConfig) -> anyhow::Result<PathBuf> {
        let dir = self.agent_dir();
        let file = |name: &str| quoted(&dir.join(name));
        let relay = |url: &String| format!("{{ urls = [{}] }}", Value::from(url.clone()));
        let turn = stack_config.turn.iter().map(relay).collect::<Vec<_>>().join(", ");
        let text = format!(
            r#"[agent]
name = "{name}"
deployment = "dev"
url = "{url}"
capacity = {capacity}
boot_timeout_s = {boot_timeout_s}
sweep_s = {sweep_s}
sighting_s = {sighting_s}
lease_s = {lease_s}

[api]
listen = "127.0.0.1:{port}"
requests_per_second = 100000
connections_per_address = 100000

[admin]
socket = {socket}

{debug}

[tls]
certificate = {certificate}
key = {key}

{nats}
[ams]
url = "{ams}"
certificate = {client}
key = {client_key}
fingerprints = ["{ams_pin}"]

[tokens]
sealing_key = {sealing}
first_root_key = {root}
state = {state}

[turn]
servers = [{turn}]
lifetime_s = {credential_s}
sealing_key = {sealing}
first_secret = {secret}
state = {state}
"#,
            name = self.agent,
            url = stack_config.agents.clone().unwrap_or_else(|| self.agent_url()),
            capacity = stack_config.capacity,
            boot_timeout_s = stack_config.boot_timeout_s,
            sweep_s = stack_config.sweep_s,
            sighting_s = stack_config.sighting_s,
            lease_s = stack_config.lease_s,
            port = self.agent_port,
            socket = quoted(&self.agent_socket()),
            debug = stack_config.debug_section(),
            certificate = file("server.crt"),
            key = file("server.key"),
            nats = stack_config.nats_section(),
            ams = stack_config.ams,
            client = file("ams-client.crt"),
            client_key = file("ams-client.key"),
            ams_pin = stack_config.ams_pin,
            sealing = file("sealing.key"),
            root = file("root.key"),
            credential_s = stack_config.credential_s,
            secret = file("turn.secret"),
            state = file("state"),
        );
        write(self.dir.join("agent.toml"), &text)
    }

    /// Writes `gateway.toml` and returns its path.
    pub fn write_gateway(&self, stack_config: &StackConfig) -> anyhow::Result<PathBuf> {
        let dir = self.gateway_dir();
        let file = |name: &str| quoted(&dir.join(name));
        let text = format!(
            r#"[gateway]
listen = "127.0.0.1:{port}"
public_url = "{url}"
socket_token_s = {socket_token_s}
reconnect_token_s = {reconnect_token_s}
client_grace_s = {client_grace_s}

[admin]
socket = {socket}

{debug}

[tls]
certificate = {certificate}
key = {key}

{nats}
[tokens]
sealing_key = {sealing}
first_root_key = {root}
state = {state}
"#,
            port = self.gateway_port,
            url = stack_config.gateways.clone().unwrap_or_else(|| self.gateway_url()),
            socket_token_s = stack_config.socket_token_s,
            reconnect_token_s = stack_config.reconnect_token_s,
            client_grace_s = stack_config.client_grace_s,
            socket = quoted(&self.admin_socket()),
            debug = stack_config.debug_section(),
            certificate = file("server.crt"),
            key = file("server.key"),
            nats = stack_config.nats_section(),
            sealing = file("sealing.key"),
            root = file("root.key"),
            state = file("state"),
        );
        write(self.dir.join("gateway.toml"), &text)
    }
}

impl StackConfig {
    fn debug_section(&self) -> &'static str {
        match self.faults {
            true => "[debug]\nfault_injection = \"yes_for_test_purposes_only\"\n",
            false => "",
        }
    }

    fn nats_section(&self) -> String {
        format!(
            "[nats]\nservers = [\"{}\"]\nca = {}\ntoken = {}\n",
            self.nats,
            quoted(&self.nats_ca),
            quoted(&self.nats_token)
        )
    }
}

/// A path as TOML writes it; nats-server reads it too.
pub(super) fn quoted(path: &Path) -> String {
    Value::from(path.display().to_string()).to_string()
}

fn pin(dir: &Path, stem: &str) -> anyhow::Result<Fingerprint> {
    let file = |end: &str| dir.join(format!("{stem}.{end}"));
    Ok(stream_pki::Identity::load(file("crt"), file("key"))?.fingerprint())
}

/// Configurations are written anew for every start: ports change.
fn write(path: PathBuf, text: &str) -> anyhow::Result<PathBuf> {
    std::fs::write(&path, text).with_context(|| format!("file {}", path.display()))?;
    Ok(path)
}
