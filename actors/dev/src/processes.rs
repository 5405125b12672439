//! The stack as an operator runs it: every part a process of its own.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use stream_simulators::ams::ReadyApplication;
use stream_simulators::client::Gateway;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use toml::toml;

use crate::ams::{self, APPLICATION, Relay, Transport};
use crate::coturn::Coturn;
use crate::in_process::{client_config, wait_for_applications};
use crate::keys::KeyStore;
use crate::nats::Nats;
use crate::node_files::{NodeFiles, StackConfig, merge};
use crate::process::{Process, beside_us};

const START_WITHIN: Duration = Duration::from_secs(20);

/// Between two questions to a service that has no keys yet.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What a stack offers, and to whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address of this machine where gateway and relay listen.
    pub listen: IpAddr,
    /// Whether NATS, AMS and agent listen there as well; on the loopback otherwise.
    pub listen_all: bool,
    /// The origins of web pages elsewhere that may call the gateway.
    pub origins: Vec<String>,
    /// What can be launched, at least one; the link of the stack starts the first.
    pub applications: Vec<ReadyApplication>,
    /// How long an instance takes to boot.
    pub boot: Duration,
    /// How instances exchange commands and signals with their agent.
    pub transport: Transport,
    /// Whether instances have media relayed.
    pub relay: Relay,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: Ipv4Addr::LOCALHOST.into(),
            listen_all: false,
            origins: Vec::new(),
            applications: vec![APPLICATION.into()],
            boot: Duration::ZERO,
            transport: Transport::Rest,
            relay: Relay::Never,
        }
    }
}

/// A running stack and its tokens. Dropping it ends every part in order.
pub struct Services {
    pub nodes: NodeFiles,
    /// The token of the account `demo`.
    pub token: String,
    /// The token with which AMS asks the agent for sessions.
    pub ams_token: String,
    applications: Vec<ReadyApplication>,
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
    /// Starts everything with its files in `dir`, and returns once a session can be asked for, at
    /// the gateway and at AMS. Says on standard error what is being waited for.
    pub async fn start(dir: &Path, keys: &KeyStore, options: &Options) -> anyhow::Result<Self> {
        let (host, applications) = (options.listen, options.applications.clone());
        ams::check_names(&applications)?;
        let inner = if options.listen_all { host } else { Ipv4Addr::LOCALHOST.into() };
        let say = Progress::new();
        say.line("keys: RSA-4096, a few seconds when they have to be made");
        let (keys, at) = (keys.good_for(host)?, dir.join("nodes"));
        let prepare = move || Ok((NodeFiles::prepare_on(&at, &keys, host, inner)?, keys));
        let (nodes, keys) = tokio::task::spawn_blocking(prepare)
            .await
            .context("making the keys panicked")
            .and_then(|made: anyhow::Result<_>| made)?;

        let mut running = Running::default();
        say.line("nats: starting");
        let nats = running.nats.insert(Nats::start_on(&dir.join("nats"), &keys, inner)?);
        let mut config = StackConfig::new(nats.bridge(), &nodes)?;
        config.override_agent(toml! { agent.sweep_s = 5 });
        let origins = options.origins.clone();
        let for_developers = toml! {
            gateway.allow_token_in_query = true
            gateway.allowed_origins = origins
        };
        merge(&mut config.gateway, for_developers);
        if Coturn::find().is_some() {
            say.line("coturn: starting");
            let coturn = Coturn::start_on(&dir.join("coturn"), &nodes.turn_secret()?, host)?;
            config.turn.push(running.coturn.insert(coturn).url());
        } else {
            say.line("coturn: relaying is off, install coturn to have it");
        }

        say.line("ams: starting");
        // The benches start the stack from a program of their own.
        let program = beside_us("stream-dev")?;
        let arguments = ams_arguments(&nodes, options)?;
        let ams = Process::start("ams", &program, &arguments, &dir.join("ams.log"))?;
        running.ams.insert(ams).wait_for_address(nodes.ams_address(), START_WITHIN)?;
        say.line("agent: starting");
        let agent = service("stream-agent", &nodes.write_agent(&config)?, &dir.join("agent.log"))?;
        running.agent.insert(agent).wait_for_address(nodes.agent_address(), START_WITHIN)?;
        say.line("gateway: starting");
        let gateway = nodes.write_gateway(&config)?;
        let gateway = service("stream-gateway", &gateway, &dir.join("gateway.log"))?;
        running.gateway.insert(gateway).wait_for_address(nodes.gateway_address(), START_WITHIN)?;

        say.line("account: waiting until the gateway knows the agent, and AMS as well");
        let account = async {
            let token = create_account(&nodes).await?;
            let names: Vec<_> = applications.iter().map(|app| app.name.as_str()).collect();
            let client = Gateway::new(&client_config(&nodes, &token)?)?;
            wait_for_applications(&client, &names).await?;
            Ok(token)
        };
        let for_ams = async {
            let token = create_ams_token(&nodes).await?;
            ams::set_agent(&nodes, &token).await?;
            Ok(token)
        };
        let ready = async { tokio::try_join!(account, for_ams) };
        let (token, ams_token) = running.while_alive(ready).await?;
        say.line("ready");
        Ok(Self { nodes, token, ams_token, applications, running })
    }

    pub fn nats(&self) -> Option<&Nats> {
        self.running.nats.as_ref()
    }

    /// A client of the gateway, as the account `demo`.
    pub fn client(&self) -> anyhow::Result<Gateway> {
        Ok(Gateway::new(&client_config(&self.nodes, &self.token)?)?)
    }

    /// The address of the page, with all it needs to start a session at once.
    pub fn link(&self) -> String {
        let (url, token, app) = (self.nodes.gateway_url(), &self.token, self.application());
        format!("{url}/#token={token}&app={app}&start=1")
    }

    /// The application that the link starts.
    pub fn application(&self) -> &str {
        self.applications.first().map_or(APPLICATION, |application| &application.name)
    }

    /// What a test suite needs to know of the parts, as variables of its environment. The first
    /// five have the names by which the public end-to-end tests of the client SDK read them.
    pub fn variables(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let (nodes, running) = (&self.nodes, &self.running);
        let file = |path: &Path| path.display().to_string();
        let client = nodes.ams_client();
        let mut variables = vec![
            ("AMS_API_URL", nodes.ams_url()),
            ("AMS_API_CERTIFICATE", file(&client.certificate)),
            ("AMS_API_CERTIFICATE_KEY", file(&client.key)),
            ("ASG_API_URL", nodes.gateway_url()),
            ("ASG_API_TOKEN", self.token.clone()),
            ("STREAM_GATEWAY_CERTIFICATE", file(&nodes.gateway_pair().certificate)),
            ("STREAM_GATEWAY_SHA256", nodes.gateway_pin()?.to_string()),
            ("STREAM_GATEWAY_SOCKET", file(&nodes.admin_socket())),
            ("STREAM_AMS_CERTIFICATE", file(&nodes.ams.certificate)),
            ("STREAM_AMS_SHA256", nodes.ams.identity()?.fingerprint().to_string()),
            ("STREAM_AGENT_URL", nodes.agent_url()),
            ("STREAM_AGENT_CERTIFICATE", file(&nodes.agent_pair().certificate)),
            ("STREAM_AGENT_SHA256", nodes.agent_pin()?.to_string()),
            ("STREAM_AGENT_SOCKET", file(&nodes.agent_socket())),
            ("STREAM_AGENT_AMS_TOKEN", self.ams_token.clone()),
        ];
        if let Some(nats) = &running.nats {
            variables.extend([
                ("STREAM_NATS_URL", nats.url()),
                ("STREAM_NATS_CA", file(&nats.ca())),
                ("STREAM_NATS_TOKEN_FILE", file(&nats.token())),
            ]);
        }
        if let Some(coturn) = &running.coturn {
            variables.extend([
                ("STREAM_TURN_URL", coturn.url()),
                ("STREAM_TURN_SECRET_FILE", file(&nodes.turn_secret_file())),
            ]);
        }
        Ok(variables)
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

/// How `value` is written on a command line.
fn value_name(value: impl ValueEnum) -> anyhow::Result<String> {
    let value = value.to_possible_value().context("a hidden value")?;
    Ok(value.get_name().to_owned())
}

/// What `stream-dev ams` takes.
fn ams_arguments(nodes: &NodeFiles, options: &Options) -> anyhow::Result<Vec<OsString>> {
    let mut arguments: Vec<OsString> = vec![
        "ams".into(),
        "--listen".into(),
        nodes.ams_host.to_string().into(),
        "--port".into(),
        nodes.ams_port.to_string().into(),
        "--certificate".into(),
        nodes.ams.certificate.clone().into(),
        "--key".into(),
        nodes.ams.key.clone().into(),
        "--trust".into(),
        nodes.ams_client_pin()?.to_string().into(),
        "--boot-ms".into(),
        options.boot.as_millis().to_string().into(),
        format!("--transport={}", value_name(options.transport)?).into(),
        format!("--relay={}", value_name(options.relay)?).into(),
    ];
    // Clients that reach the gateway there reach instances there as well.
    if !options.listen.is_loopback() {
        arguments.extend(["--media-address".into(), options.listen.to_string().into()]);
    }
    for application in &options.applications {
        arguments.extend(["--application".into(), application.to_string().into()]);
    }
    Ok(arguments)
}

/// Creates the account of whoever uses the stack.
async fn create_account(nodes: &NodeFiles) -> anyhow::Result<String> {
    let arguments = ["account", "create", "demo"];
    printed_token("stream-gateway", &arguments, &nodes.admin_socket()).await
}

/// Makes the token with which AMS asks for sessions.
async fn create_ams_token(nodes: &NodeFiles) -> anyhow::Result<String> {
    let arguments = ["token", "create", "--scope", "ams", "ams"];
    printed_token("stream-agent", &arguments, &nodes.agent_socket()).await
}

/// Returns the token that a command of the service `name` prints, run as an operator does, as soon
/// as the service at `socket` can make one.
async fn printed_token(name: &str, arguments: &[&str], socket: &Path) -> anyhow::Result<String> {
    let program = beside_us(name)?;
    let deadline = Instant::now() + START_WITHIN;
    loop {
        let mut command = Command::new(&program);
        command.args(arguments).arg("--socket").arg(socket);
        let output = command.kill_on_drop(true).output().await.context("cannot run it")?;
        if output.status.success() {
            let token = String::from_utf8(output.stdout).context("the token is no text")?;
            return Ok(token.trim().to_owned());
        }
        let why = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(Instant::now() < deadline, "{name} makes no token: {}", why.trim());
        tokio::time::sleep(ASK_AGAIN).await;
    }
}
