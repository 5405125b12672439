//! The two nodes of a stack, as an operator would set them up: `init`, then a configuration file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stream_admin::FaultInjection;
use stream_agent::agent::AgentConfig;
use stream_agent::gateway::GatewayConfig;
use stream_agent::init::{self, SealingKey};
use stream_pki::{Fingerprint, create_private_dir};
use toml::Table;

use crate::keys::{KeyStore, Pair, write_secret};
use crate::ports;

/// A directory with the secrets and certificates of an agent, a gateway and an AMS, and the ports
/// they are to listen on.
#[derive(Clone, Debug)]
pub struct NodeFiles {
    pub dir: PathBuf,
    /// The address of this machine where the gateway listens.
    pub host: IpAddr,
    pub agent_host: IpAddr,
    pub ams_host: IpAddr,
    /// Name of the agent.
    pub agent: String,
    pub agent_port: u16,
    pub gateway_port: u16,
    pub ams_port: u16,
    /// What AMS shows; the agent pins it.
    pub ams: Pair,
}

/// What the nodes are connected to, and how their configurations differ from the defaults.
#[derive(Clone, Debug)]
pub struct StackConfig {
    pub nats: stream_bridge::Config,
    /// `https://host:port`
    pub ams: String,
    pub ams_pin: Fingerprint,
    /// The URL of each relay; without one, streams are direct only.
    pub turn: Vec<String>,
    /// Whether operators can make actors fail.
    pub faults: bool,
    /// The URLs of balancers before the units, when there are such.
    pub agents: Option<String>,
    pub gateways: Option<String>,
    /// Keys of every `agent.toml`, by section.
    pub agent: Table,
    /// Keys of every `gateway.toml`, by section.
    pub gateway: Table,
}

impl StackConfig {
    /// A stack of `nodes` with the NATS that is given, and nothing beyond what is needed.
    pub fn new(nats: stream_bridge::Config, nodes: &NodeFiles) -> anyhow::Result<Self> {
        Ok(Self {
            nats,
            ams: nodes.ams_url(),
            ams_pin: nodes.ams.identity()?.fingerprint(),
            turn: Vec::new(),
            faults: false,
            agents: None,
            gateways: None,
            agent: Table::new(),
            gateway: Table::new(),
        })
    }

    /// Has every `agent.toml` that is written from now on say what `keys` say.
    pub fn override_agent(&mut self, keys: Table) {
        merge(&mut self.agent, keys);
    }

    /// All clients of a stack have one address.
    fn http(&self) -> Value {
        json!({
            "connections_per_address": 100_000,
            "handshakes_per_address": 100_000,
            "full_handshakes_per_second": 100_000,
            "requests_per_address": 1_000_000,
        })
    }

    fn debug(&self) -> Value {
        match self.faults {
            true => json!({ "fault_injection": FaultInjection::YesForTestPurposesOnly }),
            false => json!({}),
        }
    }
}

impl NodeFiles {
    /// Sets up both nodes in `dir`, with keys from `keys`, to listen on the loopback. What is there
    /// already stays.
    pub fn prepare(dir: &Path, keys: &KeyStore) -> anyhow::Result<Self> {
        let loopback = Ipv4Addr::LOCALHOST.into();
        Self::prepare_on(dir, keys, loopback, loopback)
    }

    /// Sets up both nodes as [`NodeFiles::prepare`] does; the gateway is to listen on `host`, agent
    /// and AMS on `inner`. The certificates in `keys` are to be good for both.
    pub fn prepare_on(
        dir: &Path,
        keys: &KeyStore,
        host: IpAddr,
        inner: IpAddr,
    ) -> anyhow::Result<Self> {
        keys.warm_up()?;
        create_private_dir(dir).with_context(|| format!("directory {}", dir.display()))?;
        let nodes = Self {
            dir: dir.to_owned(),
            host,
            agent_host: inner,
            ams_host: inner,
            agent: "dev".to_owned(),
            agent_port: ports::free_on(inner),
            gateway_port: ports::free_on(host),
            ams_port: ports::free_on(inner),
            ams: keys.pair("ams")?,
        };
        let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        keys.install(&nodes.agent_dir(), "agent")?;
        init::agent(&nodes.agent_dir(), &hosts, None)?;
        keep_first_secrets(&nodes.agent_dir())?;
        create_private_dir(nodes.gateway_dir())?;
        keys.pair("gateway")?.copy(&nodes.gateway_dir(), "server")?;
        init::gateway(&nodes.gateway_dir(), &hosts, None)?;
        keep_first_secrets(&nodes.gateway_dir())?;
        Ok(nodes)
    }

    /// Sets up one more node for an agent called `name`, beside the first and with its sealing key.
    /// It shows the certificate of the pair called `pair`.
    pub fn join(&self, name: &str, pair: &str, keys: &KeyStore) -> anyhow::Result<Self> {
        let nodes = Self {
            dir: self.dir.join(name),
            agent: name.to_owned(),
            agent_port: ports::free(),
            ..self.clone()
        };
        create_private_dir(&nodes.dir)?;
        keys.install(&nodes.agent_dir(), pair)?;
        let sealing_key = SealingKey::read(&self.agent_dir().join("sealing.key"))?;
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
        let sealing_key = SealingKey::read(&self.gateway_dir().join("sealing.key"))?;
        init::gateway(&nodes.gateway_dir(), &["127.0.0.1".to_owned()], Some(&sealing_key))?;
        Ok(nodes)
    }

    pub fn agent_dir(&self) -> PathBuf {
        self.dir.join("agent")
    }

    pub fn gateway_dir(&self) -> PathBuf {
        self.dir.join("gateway")
    }

    pub fn agent_address(&self) -> SocketAddr {
        SocketAddr::new(self.agent_host, self.agent_port)
    }

    pub fn gateway_address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.gateway_port)
    }

    pub fn ams_address(&self) -> SocketAddr {
        SocketAddr::new(self.ams_host, self.ams_port)
    }

    pub fn agent_url(&self) -> String {
        format!("https://{}", self.agent_address())
    }

    pub fn gateway_url(&self) -> String {
        format!("https://{}", self.gateway_address())
    }

    pub fn ams_url(&self) -> String {
        format!("https://{}", self.ams_address())
    }

    /// What the agent shows to AMS, which lets it do everything.
    pub fn ams_client(&self) -> Pair {
        Pair::in_dir(&self.agent_dir(), "ams-client")
    }

    /// What the agent shows to instances and to AMS.
    pub fn agent_pair(&self) -> Pair {
        Pair::in_dir(&self.agent_dir(), "server")
    }

    /// What the gateway shows to clients.
    pub fn gateway_pair(&self) -> Pair {
        Pair::in_dir(&self.gateway_dir(), "server")
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
        read_kept(&self.turn_secret_file())
    }

    /// The file with the [secret](NodeFiles::turn_secret).
    pub fn turn_secret_file(&self) -> PathBuf {
        kept(&self.agent_dir(), "turn.secret")
    }

    /// The first root keys of the agent and of the gateway.
    pub fn root_keys(&self) -> anyhow::Result<[String; 2]> {
        Ok([
            read_kept(&kept(&self.agent_dir(), "root.key"))?,
            read_kept(&kept(&self.gateway_dir(), "root.key"))?,
        ])
    }

    /// The fingerprint of what the agent shows to instances.
    pub fn agent_pin(&self) -> anyhow::Result<Fingerprint> {
        pin(&self.agent_dir(), "server")
    }

    /// The fingerprints that instances are told: of what the agent shows, and of what it will.
    pub fn agent_pins(&self) -> anyhow::Result<Vec<String>> {
        let pins = [self.agent_pin()?, pin(&self.agent_dir(), "server-next")?];
        Ok(pins.map(|pin| pin.to_string()).into())
    }

    /// The fingerprint by which AMS knows the agent.
    pub fn ams_client_pin(&self) -> anyhow::Result<Fingerprint> {
        pin(&self.agent_dir(), "ams-client")
    }

    /// The fingerprint of what the gateway shows to clients.
    pub fn gateway_pin(&self) -> anyhow::Result<Fingerprint> {
        pin(&self.gateway_dir(), "server")
    }

    /// Writes `agent.toml`, with every key that it may have, and returns its path. Refuses keys
    /// that an agent does not know.
    pub fn write_agent(&self, stack: &StackConfig) -> anyhow::Result<PathBuf> {
        let dir = self.agent_dir();
        let servers: Vec<_> = stack.turn.iter().map(|url| json!({ "urls": [url] })).collect();
        let keys = json!({
            "agent": {
                "name": self.agent,
                "deployment": "dev",
                "url": stack.agents.clone().unwrap_or_else(|| self.agent_url()),
                "remote_drain": true,
            },
            "api": {
                "listen": self.agent_address(),
                "requests_per_second": 100_000,
            },
            "http": stack.http(),
            "admin": { "socket": self.agent_socket() },
            "debug": stack.debug(),
            "tls": {
                "certificate": dir.join("server.crt"),
                "key": dir.join("server.key"),
                "next_certificate": dir.join("server-next.crt"),
                "next_key": dir.join("server-next.key"),
            },
            "nats": Table::try_from(&stack.nats)?,
            "ams": {
                "url": stack.ams,
                "certificate": dir.join("ams-client.crt"),
                "key": dir.join("ams-client.key"),
                "fingerprints": [stack.ams_pin],
            },
            "tokens": {
                "sealing_key": dir.join("sealing.key"),
                "first_root_key": dir.join("root.key"),
                "state": dir.join("state"),
            },
            "turn": {
                "servers": servers,
                "sealing_key": dir.join("sealing.key"),
                "first_secret": dir.join("turn.secret"),
                "state": dir.join("state"),
            },
        });
        write::<AgentConfig>(self.dir.join("agent.toml"), keys, &stack.agent)
    }

    /// Writes `gateway.toml`, with every key that it may have, and returns its path. Refuses keys
    /// that a gateway does not know.
    pub fn write_gateway(&self, stack: &StackConfig) -> anyhow::Result<PathBuf> {
        let dir = self.gateway_dir();
        let keys = json!({
            "gateway": {
                "listen": self.gateway_address(),
                "public_url": stack.gateways.clone().unwrap_or_else(|| self.gateway_url()),
                "requests_per_second": 100_000,
                "share_join_interval_s": 0,
            },
            "http": stack.http(),
            "admin": { "socket": self.admin_socket() },
            "debug": stack.debug(),
            "tls": { "certificate": dir.join("server.crt"), "key": dir.join("server.key") },
            "nats": Table::try_from(&stack.nats)?,
            "tokens": {
                "sealing_key": dir.join("sealing.key"),
                "first_root_key": dir.join("root.key"),
                "state": dir.join("state"),
            },
        });
        write::<GatewayConfig>(self.dir.join("gateway.toml"), keys, &stack.gateway)
    }
}

/// Has `keys` say what `others` say, section by section.
pub fn merge(keys: &mut Table, others: Table) {
    for (name, value) in others {
        match (keys.get_mut(&name), value) {
            (Some(toml::Value::Table(section)), toml::Value::Table(value)) => merge(section, value),
            (_, value) => drop(keys.insert(name, value)),
        }
    }
}

/// Keeps copies of the secrets that a service removes once they are stored.
fn keep_first_secrets(home: &Path) -> anyhow::Result<()> {
    for name in ["root.key", "turn.secret"] {
        if let Ok(secret) = std::fs::read(home.join(name)) {
            write_secret(kept(home, name), secret)?;
        }
    }
    Ok(())
}

fn kept(home: &Path, name: &str) -> PathBuf {
    home.join(format!("{name}.kept"))
}

fn read_kept(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("file {}", path.display()))
}

/// A path as TOML writes it; nats-server reads it too.
pub(super) fn quoted(path: &Path) -> String {
    toml::Value::from(path.display().to_string()).to_string()
}

fn pin(dir: &Path, stem: &str) -> anyhow::Result<Fingerprint> {
    let file = |end: &str| dir.join(format!("{stem}.{end}"));
    Ok(stream_pki::Identity::load(file("crt"), file("key"))?.fingerprint())
}

/// Writes the configuration that `keys` and `others` make, anew for every start: ports change.
fn write<C: DeserializeOwned + Serialize>(
    path: PathBuf,
    keys: Value,
    others: &Table,
) -> anyhow::Result<PathBuf> {
    let mut keys = Table::try_from(keys)?;
    merge(&mut keys, others.clone());
    let config: C = keys.try_into().with_context(|| path.display().to_string())?;
    std::fs::write(&path, toml::to_string(&config)?)
        .with_context(|| format!("file {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use toml::toml;

    use super::*;

    #[test]
    fn keys_are_merged_section_by_section_and_the_later_ones_hold() {
        let mut keys = toml! { agent.name = "a" agent.sweep_s = 2 api.workers = 1 };
        merge(&mut keys, toml! { agent.sweep_s = 3 turn.probe_s = 1 });
        let both = toml! { agent.name = "a" agent.sweep_s = 3 api.workers = 1 turn.probe_s = 1 };
        assert_eq!(keys, both);
    }

    #[test]
    fn a_key_that_a_service_does_not_know_is_refused_when_it_is_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("agent.toml");
        let keys = json!({ "agent": { "name": "a" } });
        let error = write::<AgentConfig>(file, keys, &toml! { agent.swep_s = 3 });
        let sentence = format!("{:#}", error.expect_err("refused"));
        assert!(sentence.contains("swep_s"), "{sentence}");
    }
}
