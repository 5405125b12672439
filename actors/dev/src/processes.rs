//! The stack as an operator runs it: every part a process of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use stream_simulators::client::Gateway;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use toml::toml;

use crate::ams::APPLICATION;
use crate::coturn::Coturn;
use crate::in_process::{client_config, wait_for_agent};
use crate::keys::KeyStore;
use crate::nats::Nats;
use crate::node_files::{NodeFiles, StackConfig};
use crate::process::{Process, beside_us};

const START_WITHIN: Duration = Duration::from_secs(20);

/// Between two questions to a gateway that has no keys yet.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// A running stack, and the token of an account. Dropping it ends every part in order.
pub struct Services {
    pub nodes: NodeFiles,
    /// The token of the account `demo`.
    pub token: String,
    running: Running,
}

/// What runs, the last one started first: that is the order of an end.
#[derive(Default)]
struct Running {
    gateway: Option<Process>,
    agent: Option<Process>,
    ams: Option<Process>,
    coturn: Option<Coturn>,
    nats: Option<Nats>,
}

/// How one part is found.
pub struct Part {
    pub name: String,
    pub address: String,
    pub pid: u32,
    pub log: PathBuf,
}

impl Services {
    /// Starts everything with its files in `dir`, and returns once a session can be asked for.
    /// `boot` is how long an instance takes. Says on standard error what is being waited for.
    pub async fn start(dir: &Path, keys: &KeyStore, boot: Duration) -> anyhow::Result<Self> {
        let say = Progress::new();
        say.line("keys: RSA-4096, a few seconds when they have to be made");
        let (keys, at) = (keys.clone(), dir.join("nodes"));
        let prepare = move || Ok((NodeFiles::prepare(&at, &keys)?, keys));
        let (nodes, keys) = tokio::task::spawn_blocking(prepare)
            .await
            .context("making the keys panicked")
            .and_then(|made: anyhow::Result<_>| made)?;

        let mut running = Running::default();
        say.line("nats: starting");
        let nats = running.nats.insert(Nats::start(&dir.join("nats"), &keys)?);
        let mut config = StackConfig::new(nats.bridge(), &nodes)?;
        config.override_agent(toml! { agent.sweep_s = 5 });
        if Coturn::find().is_some() {
            say.line("coturn: starting");
            let coturn = Coturn::start(&dir.join("coturn"), &nodes.turn_secret()?)?;
            config.turn.push(running.coturn.insert(coturn).url());
        } else {
            say.line("coturn: relaying is off, install coturn to have it");
        }

        say.line("ams: starting");
        // The benches start the stack from a program of their own.
        let program = beside_us("stream-dev")?;
        let ams =
            Process::start("ams", &program, &ams_arguments(&nodes, boot)?, &dir.join("ams.log"))?;
        running.ams.insert(ams).wait_for_port(nodes.ams_port, START_WITHIN)?;
        say.line("agent: starting");
        let agent = service("stream-agent", &nodes.write_agent(&config)?, &dir.join("agent.log"))?;
        running.agent.insert(agent).wait_for_port(nodes.agent_port, START_WITHIN)?;
        say.line("gateway: starting");
        let gateway = nodes.write_gateway(&config)?;
        let gateway = service("stream-gateway", &gateway, &dir.join("gateway.log"))?;
        running.gateway.insert(gateway).wait_for_port(nodes.gateway_port, START_WITHIN)?;

        say.line("account: waiting until the gateway knows the agent");
        let ready = async {
            let token = create_account(&nodes).await?;
            wait_for_agent(&Gateway::new(&client_config(&nodes, &token)?)?).await?;
            Ok(token)
        };
        let token = running.while_alive(ready).await?;
        say.line("ready");
        Ok(Self { nodes, token, running })
    }

    /// A client of the gateway, as the account `demo`.
    pub fn client(&self) -> anyhow::Result<Gateway> {
        Ok(Gateway::new(&client_config(&self.nodes, &self.token)?)?)
    }

    /// The address of the page, with all it needs to start a session at once.
    pub fn link(&self) -> String {
        let (url, token) = (self.nodes.gateway_url(), &self.token);
        format!("{url}/#token={token}&app={APPLICATION}&start=1")
    }

    /// How each part is found, in the order they were started.
    pub fn parts(&mut self) -> Vec<Part> {
        let (nodes, running) = (&self.nodes, &mut self.running);
        let nats = running.nats.as_mut().map(|nats| Part::new(nats.url(), nats.process()));
        let coturn =
            running.coturn.as_mut().map(|coturn| Part::new(coturn.url(), coturn.process()));
        let own = [
            (nodes.ams_url(), &running.ams),
            (nodes.agent_url(), &running.agent),
            (nodes.gateway_url(), &running.gateway),
        ];
        let own =
            own.into_iter().filter_map(|(url, process)| Some(Part::new(url, process.as_ref()?)));
        nats.into_iter().chain(coturn).chain(own).collect()
    }

    /// Returns what `work` does; fails as soon as a part ends before.
    pub async fn while_alive<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        self.running.while_alive(work).await
    }
}

impl Part {
    fn new(address: String, process: &Process) -> Self {
        let (name, log) = (process.name().to_owned(), process.log().to_owned());
        Self { name, address, pid: process.pid(), log }
    }
}

impl Drop for Running {
    /// Asks each part to end and waits for it, the last one started first.
    fn drop(&mut self) {
        self.processes().into_iter().for_each(Process::stop);
    }
}

impl Running {
    /// The last one started first.
    fn processes(&mut self) -> Vec<&mut Process> {
        let own = [&mut self.gateway, &mut self.agent, &mut self.ams];
        let own = own.into_iter().filter_map(Option::as_mut);
        let coturn = self.coturn.as_mut().map(Coturn::process);
        own.chain(coturn).chain(self.nats.as_mut().map(Nats::process)).collect()
    }

    async fn while_alive<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done,
            error = self.death() => Err(error),
        }
    }

    /// Waits until a part ends, which none should, and says which one and how.
    async fn death(&mut self) -> anyhow::Error {
        // Before the first look, so that no death falls between the two.
        let mut deaths = match signal(SignalKind::child()) {
            Ok(deaths) => deaths,
            Err(error) => return error.into(),
        };
        loop {
            for process in self.processes() {
                if let Some(status) = process.ended() {
                    let (name, words) = (process.name(), process.last_words());
                    return anyhow::anyhow!(
                        "{name} has ended ({status}); its last words:\n{words}"
                    );
                }
            }
            deaths.recv().await;
        }
    }
}

/// Lines that say what is being waited for, and since when.
struct Progress(Instant);

impl Progress {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn line(&self, text: &str) {
        eprintln!("[{:5.1} s] {text}", self.0.elapsed().as_secs_f64());
    }
}

/// Runs one of the two services, whose programs lie beside this one.
fn service(name: &'static str, config: &Path, log: &Path) -> anyhow::Result<Process> {
    let arguments = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
    Process::start(name, &beside_us(name)?, &arguments, log)
}

/// What `stream-dev ams` takes.
fn ams_arguments(nodes: &NodeFiles, boot: Duration) -> anyhow::Result<Vec<OsString>> {
    Ok(vec![
        "ams".into(),
        "--port".into(),
        nodes.ams_port.to_string().into(),
        "--certificate".into(),
        nodes.ams.certificate.clone().into(),
        "--key".into(),
        nodes.ams.key.clone().into(),
        "--trust".into(),
        nodes.ams_client_pin()?.to_string().into(),
        "--boot-ms".into(),
        boot.as_millis().to_string().into(),
    ])
}

/// Creates the account as an operator does, as soon as the gateway can.
async fn create_account(nodes: &NodeFiles) -> anyhow::Result<String> {
    let program = beside_us("stream-gateway")?;
    let deadline = Instant::now() + START_WITHIN;
    loop {
        let mut command = Command::new(&program);
        command.args(["account", "create", "demo", "--socket"]).arg(nodes.admin_socket());
        let output = command.kill_on_drop(true).output().await.context("cannot run it")?;
        if output.status.success() {
            let token = String::from_utf8(output.stdout).context("the token is no text")?;
            return Ok(token.trim().to_owned());
        }
        let why = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(Instant::now() < deadline, "no account could be made: {}", why.trim());
        tokio::time::sleep(ASK_AGAIN).await;
    }
}
