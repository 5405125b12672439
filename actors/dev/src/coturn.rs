//! A real coturn that relays to instances on this machine, for credentials of the agent.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use stream_pki::{create_private_dir, write_new};

use crate::keys::Pair;
use crate::ports;
use crate::process::{self, Process};

const START_WITHIN: Duration = Duration::from_secs(20);

/// How many streams can be relayed at a time, at least one port each.
const RELAY_PORTS: u16 = 200;

const REALM: &str = "stream.localhost";

/// Where secrets are that were added to a running relay.
const USERS: &str = "users.db";

/// A running coturn. Dropping it kills it.
pub struct Coturn {
    program: PathBuf,
    dir: PathBuf,
    address: SocketAddr,
    tls: Option<Tls>,
    process: Process,
}

/// Where it speaks TLS, and as whom.
struct Tls {
    port: u16,
    pair: Pair,
}

impl Coturn {
    /// Returns the coturn of this machine, if it has one.
    pub fn find() -> Option<PathBuf> {
        process::find("turnserver")
    }

    /// Starts a relay that takes credentials made with `secret`, and waits until it accepts
    /// connections. Refuses when there is no coturn on this machine.
    pub fn start(dir: &Path, secret: &str) -> anyhow::Result<Self> {
        Self::start_on(dir, secret, Ipv4Addr::LOCALHOST.into())
    }

    /// Starts a relay as [`Coturn::start`] does, that listens on `host`. It relays to the loopback
    /// and nowhere else, wherever it listens.
    pub fn start_on(dir: &Path, secret: &str, host: IpAddr) -> anyhow::Result<Self> {
        Self::listen(dir, secret, host, None)
    }

    /// Starts a relay as [`Coturn::start`] does, with a port for TLS on which it shows the
    /// certificate of `pair`.
    pub fn start_with_tls(dir: &Path, secret: &str, pair: Pair) -> anyhow::Result<Self> {
        let tls = Tls { port: ports::free(), pair };
        Self::listen(dir, secret, Ipv4Addr::LOCALHOST.into(), Some(tls))
    }

    fn listen(dir: &Path, secret: &str, host: IpAddr, tls: Option<Tls>) -> anyhow::Result<Self> {
        let program = Self::find().context("there is no coturn: install the package coturn")?;
        create_private_dir(dir).with_context(|| format!("directory {}", dir.display()))?;
        let address = SocketAddr::new(host, ports::free_on(host));
        let process = run(&program, &[], dir, address, tls.as_ref(), &[secret])?;
        Ok(Self { program, dir: dir.to_owned(), address, tls, process })
    }

    /// Starts it again on the same port, whether it runs or not; it then takes credentials made
    /// with any of `secrets`, and with none that was added before.
    pub fn restart(&mut self, secrets: &[&str]) -> anyhow::Result<()> {
        self.restart_with(&[], secrets)
    }

    /// Starts it again as [`Coturn::restart`] does, with more variables in its environment, each
    /// `NAME=VALUE`.
    pub fn restart_with(&mut self, variables: &[String], secrets: &[&str]) -> anyhow::Result<()> {
        self.process.kill();
        let users = self.dir.join(USERS);
        if users.exists() {
            std::fs::remove_file(users)?;
        }
        let tls = self.tls.as_ref();
        self.process = run(&self.program, variables, &self.dir, self.address, tls, secrets)?;
        Ok(())
    }

    /// Has the running relay take credentials made with `secret` too, as an operator does who does
    /// not want to restart it.
    pub fn add_secret(&self, secret: &str) -> anyhow::Result<()> {
        let program = process::find("turnadmin").context("turnadmin belongs to coturn")?;
        let mut command = std::process::Command::new(program);
        command.args(["--set-secret", secret, "--realm", REALM, "--userdb"]);
        command.arg(self.dir.join(USERS)).current_dir(&self.dir);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // It cannot be told where to log, or not to.
        let log = format!("turn_{}_", child.id());
        let output = child.wait_with_output()?;
        for entry in std::fs::read_dir("/var/log").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&log) {
                std::fs::remove_file(entry.path())?;
            }
        }
        anyhow::ensure!(output.status.success(), "turnadmin: {output:?}");
        Ok(())
    }

    /// What it has logged since its first start.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(self.process.log())?).into_owned())
    }

    pub fn url(&self) -> String {
        format!("turn:{}?transport=udp", self.address)
    }

    /// The way to it inside TLS, if it has one.
    pub fn tls_url(&self) -> Option<String> {
        self.tls.as_ref().map(|tls| format!("turns:127.0.0.1:{}?transport=tcp", tls.port))
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn run(
    program: &Path,
    variables: &[String],
    dir: &Path,
    address: SocketAddr,
    tls: Option<&Tls>,
    secrets: &[&str],
) -> anyhow::Result<Process> {
    // Relays that run at the same time seldom share a range, and can.
    let first = 50_000 + address.port() % 50 * RELAY_PORTS;
    let secrets = secrets.iter().map(|secret| format!("static-auth-secret={secret}\n"));
    let text = format!(
        "listening-ip={host}
# Only its peer, an instance on this machine, sends to what is relayed.
relay-ip=127.0.0.1
listening-port={port}
min-port={first}
max-port={last}
fingerprint
use-auth-secret
{secrets}realm={REALM}
userdb={dir}/{USERS}
pidfile={dir}/pid
log-file=stdout
# Who was refused is logged only so.
verbose
# Instances are on this machine; other programs of it that speak TCP are none of a client's matter.
allow-loopback-peers
no-multicast-peers
no-tcp-relay
no-cli
no-dtls
# What clients get that ask for no time of their own, as Firefox does; they refresh it soon.
max-allocate-lifetime=30
{tls}
",
        host = address.ip(),
        port = address.port(),
        tls = tls.map_or("no-tls".to_owned(), Tls::lines),
        last = first + RELAY_PORTS - 1,
        secrets = secrets.collect::<String>(),
        dir = dir.display(),
    );
    let config = dir.join("turnserver.conf");
    if config.exists() {
        std::fs::remove_file(&config)?;
    }
    write_new(&config, text.as_bytes(), 0o600)?;
    let mut words: Vec<&OsStr> = variables.iter().map(OsStr::new).collect();
    words.extend([program.as_os_str(), "-c".as_ref(), config.as_os_str()]);
    let log = dir.join("coturn.log");
    let mut process = Process::start("coturn", Path::new("env"), &words, &log)?;
    process.wait_for_address(address, START_WITHIN)?;
    if let Some(Tls { port, .. }) = tls {
        process.wait_for_port(*port, START_WITHIN)?;
    }
    Ok(process)
}

impl Tls {
    fn lines(&self) -> String {
        let Self { port, pair: Pair { certificate, key } } = self;
        let (certificate, key) = (certificate.display(), key.display());
        format!("tls-listening-port={port}\ncert={certificate}\npkey={key}")
    }
}
