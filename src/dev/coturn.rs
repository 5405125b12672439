//! A real coturn that relays on the loopback, for credentials of the agent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use stream_pki::{create_private_dir, write_new};

use super::ports;
use super::process::{self, Process};

const START_WITHIN: Duration = Duration::from_secs(20);

/// How many streams can be relayed at a time, at least one port each.
const RELAY_PORTS: u16 = 200;

/// A running coturn. Dropping it kills it.
pub struct Coturn {
    port: u16,
    process: Process,
}

impl Coturn {
    /// Returns the coturn of this machine, if it has one.
    pub fn find() -> Option<PathBuf> {
        process::find("turnserver")
    }

    /// Starts a relay that takes credentials made with `secret`, and waits until it accepts
    /// connections. Refuses when there is no coturn on this machine.
    pub fn start(dir: &Path, secret: &str) -> anyhow::Result<Self> {
        let program = Self::find().context("there is no coturn: install the package coturn")?;
        create_private_dir(dir).with_context(|| format!("directory {}", dir.display()))?;
        let port = ports::free();
        // Relays that run at the same time seldom share a range, and can.
        let first = 50_000 + port % 50 * RELAY_PORTS;
        let text = format!(
            "listening-ip=127.0.0.1
relay-ip=127.0.0.1
listening-port={port}
min-port={first}
max-port={last}
fingerprint
use-auth-secret
static-auth-secret={secret}
realm=stream.localhost
userdb={dir}/users.db
pidfile={dir}/pid
log-file=stdout
# Both ends of every stream are on this machine.
allow-loopback-peers
no-multicast-peers
no-cli
no-tls
no-dtls
",
            last = first + RELAY_PORTS - 1,
            dir = dir.display(),
        );
        let config = dir.join("turnserver.conf");
        write_new(&config, text.as_bytes(), 0o600)?;
        let arguments = ["-c".as_ref(), config.as_os_str()];
        let log = dir.join("coturn.log");
        let mut process = Process::start("coturn", &program, &arguments, &log)?;
        process.wait_for_port(port, START_WITHIN)?;
        Ok(Self { port, process })
    }

    pub fn url(&self) -> String {
        format!("turn:127.0.0.1:{}?transport=udp", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
