//! The AMS simulator: of a stack, in this process or in one of its own, and alone.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;
use stream_agent::program::Service;
use stream_agent::service_status::Away;
use stream_pki::{Fingerprint, Identity, Trust, client_config, random_text};
use stream_protocol::Capabilities;
use stream_simulators::ams::{
    Ams, Config, Faults, Launcher, ReadyApplication, idle_instances, simulated_instances_with,
};
use stream_simulators::has_vp8;
use stream_simulators::instance::{self, Behaviour, PeerOptions, Relaying};
use stream_supervisor::{Drain, Supervisor};

use crate::keys::KeyStore;
use crate::node_files::NodeFiles;

/// The application of every stack, unless it is told others.
pub const APPLICATION: &str = "clock";

/// More than any test or bench of ours wants at once.
pub const CAPACITY: usize = 10_000;

/// How long AMS may take to note a value.
const CONFIGURE_TIMEOUT: Duration = Duration::from_secs(10);

/// What `--help` tells besides the options.
pub const HELP: &str = "\
Without --certificate it shows one that is made once and kept; without --trust or --trust-password \
a trust password is made up. Both are printed. A client that knows the password adds itself:

  stream-agent ams register --trust-password-file FILE --config agent.toml

What AMS can be told at run time goes over its API, with a trusted client certificate, for instance

  curl -k --cert ams-client.crt --key ams-client.key https://127.0.0.1:8444/1.0/config
  curl … -X PATCH -d '{\"name\":\"agent.api.url\",\"value\":\"https://127.0.0.1:9033\"}' …/1.0/config
  curl … --data-binary @app.zip …/1.0/applications

With agent.api.url, agent.api.token and agent.api.fingerprint set, instances launched with \
config.enable_streaming get a session from that agent first.";

/// The options of `stream-dev ams`.
#[derive(Args, Debug)]
pub struct Options {
    /// The address of this machine where to listen.
    #[arg(long, value_name = "ADDRESS", default_value_t = Ipv4Addr::LOCALHOST.into())]
    pub listen: IpAddr,
    /// The port of it; 0 takes a free one.
    #[arg(long, default_value_t = 8444)]
    pub port: u16,
    /// What the server shows, PEM, with SANs.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// Its RSA-4096 key, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// Fingerprint of a client certificate that may do everything; may be repeated.
    #[arg(long, value_name = "SHA-256")]
    pub trust: Vec<Fingerprint>,
    /// Lets a client that knows it add its own certificate.
    #[arg(long, value_name = "TEXT")]
    pub trust_password: Option<String>,
    /// An application that is ready and published from the start, made of an image such as
    /// jammy:android15:amd64 or jammy:aaos15:amd64; may be repeated.
    #[arg(
        long = "application",
        value_name = "NAME[=IMAGE]",
        default_value = APPLICATION,
        value_parser = ReadyApplication::from_str
    )]
    pub applications: Vec<ReadyApplication>,
    /// What an instance runs.
    #[arg(long, value_enum, default_value_t = Program::Stream)]
    pub instances: Program,
    /// The newest version of the signaling protocol that instances speak: before 2 clients make the
    /// offer.
    #[arg(long, value_name = "VERSION", default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(0..=2))]
    pub api_version: u32,
    /// Instances send their candidates before the descriptions these belong to.
    #[arg(long)]
    pub candidates_first: bool,
    /// How instances exchange commands and signals with their agent.
    #[arg(long, value_enum, default_value_t = Transport::Rest)]
    pub transport: Transport,
    /// The authorities, PEM, that vouch for an agent that names no certificate of its own
    /// (`pin = false`); without it those of the system, or of SSL_CERT_FILE, do.
    #[arg(long, value_name = "FILE")]
    pub authority: Option<PathBuf>,
    /// An address of this machine where instances take media, beside the loopback.
    #[arg(long, value_name = "ADDRESS")]
    pub media_address: Option<IpAddr>,
    /// Instances have media relayed by the relay of their ICE servers, when the client chooses to;
    /// with `=only`, in no other way.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Relay::Never,
        num_args = 0..=1, require_equals = true, default_missing_value = "also")]
    pub relay: Relay,
    /// From the creation of an instance until it runs; an uploaded application takes as long.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    pub boot_ms: u64,
    /// Room for so many instances; a launch beyond is accepted and then fails.
    #[arg(long, value_name = "N", default_value_t = CAPACITY)]
    pub capacity: usize,
    #[command(flatten)]
    pub mishaps: Mishaps,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Program {
    /// An instance simulator that streams real video.
    Stream,
    /// An instance simulator that streams and does not say that it honours roles: nobody can be
    /// let only view.
    StreamWithoutRoles,
    /// Nothing, until it is stopped.
    Nothing,
}

/// The way between instances and their agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Transport {
    /// Requests and long polls.
    Rest,
    /// The control and the signaling socket.
    Socket,
    /// Both in turns, changing after every few calls.
    Hop,
}

/// Whether instances have media relayed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Relay {
    /// They are reached at an address of this machine.
    Never,
    /// They are reached in both ways.
    Also,
    /// They are reached through the relay alone.
    Only,
}

impl From<Relay> for Relaying {
    fn from(relay: Relay) -> Self {
        match relay {
            Relay::Never => Self::Never,
            Relay::Also => Self::Also,
            Relay::Only => Self::Only,
        }
    }
}

impl From<Transport> for instance::Transport {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Rest => Self::Rest,
            Transport::Socket => Self::Socket,
            Transport::Hop => Self::Hop,
        }
    }
}

/// What goes wrong; 0 is never.
#[derive(Args, Debug)]
#[command(next_help_heading = "What goes wrong (every N: every so many; 0, the default, is never)")]
pub struct Mishaps {
    /// Answer everything so much later.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    slow_ms: u64,
    /// Answer a call with 500.
    #[arg(long, value_name = "N", default_value_t = 0)]
    error_every: u32,
    /// Answer a call with 503 and Retry-After: 1.
    #[arg(long, value_name = "N", default_value_t = 0)]
    busy_every: u32,
    /// Answer a call with 429 and Retry-After: 1.
    #[arg(long, value_name = "N", default_value_t = 0)]
    throttle_every: u32,
    /// Never answer a call.
    #[arg(long, value_name = "N", default_value_t = 0)]
    hang_every: u32,
    /// Carry out a launch so much later, also when its asker has gone.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    late_launch_ms: u64,
    /// Answer a launch so much later than it is carried out.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    late_answer_ms: u64,
    /// Carry out every launch twice.
    #[arg(long)]
    double_launch: bool,
    /// Have an instance fail half way through its boot.
    #[arg(long, value_name = "N", default_value_t = 0)]
    break_boot_every: u32,
    /// Let a deletion take so much longer.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    slow_delete_ms: u64,
    /// So many deletions end well and delete nothing.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    lying_deletes: u32,
    /// So many deletions never end.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    hanging_deletes: u32,
    /// The hook of an instance that stops fails: only a deletion by force deletes.
    #[arg(long)]
    failing_hook: bool,
    /// Tell nobody of an event.
    #[arg(long, value_name = "N", default_value_t = 0)]
    lose_event_every: u32,
    /// Tell everybody twice of an event.
    #[arg(long, value_name = "N", default_value_t = 0)]
    double_event_every: u32,
}

impl From<Mishaps> for Faults {
    fn from(mishaps: Mishaps) -> Self {
        Self {
            slow: Duration::from_millis(mishaps.slow_ms),
            error_every: mishaps.error_every,
            busy_every: mishaps.busy_every,
            throttled_every: mishaps.throttle_every,
            hang_every: mishaps.hang_every,
            late_launch: Duration::from_millis(mishaps.late_launch_ms),
            late_answer: Duration::from_millis(mishaps.late_answer_ms),
            double_launch: mishaps.double_launch,
            broken_boot_every: mishaps.break_boot_every,
            slow_delete: Duration::from_millis(mishaps.slow_delete_ms),
            lying_deletes: mishaps.lying_deletes,
            hanging_deletes: mishaps.hanging_deletes,
            failing_hook: mishaps.failing_hook,
            lost_event_every: mishaps.lose_event_every,
            doubled_event_every: mishaps.double_event_every,
        }
    }
}

impl Options {
    /// Starts the simulator and prints how it is reached. Needs a running actix system.
    pub fn start(self) -> anyhow::Result<Ams> {
        let (certificate, key) = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => (certificate, key),
            _ => {
                let pair = KeyStore::shared()?.pair("ams")?;
                (pair.certificate, pair.key)
            }
        };
        let made_up = self.trust_password.is_none() && self.trust.is_empty();
        let password =
            if made_up { Some(random_text(24).to_string()) } else { self.trust_password };
        check_names(&self.applications)?;
        let config = Config {
            listen: (self.listen, self.port).into(),
            identity: Identity::load(&certificate, &key)?,
            trusted: self.trust,
            trust_password: password.clone(),
            applications: self.applications,
            boot: Duration::from_millis(self.boot_ms),
            capacity: self.capacity,
            cluster_name: "dev".to_owned(),
        };
        let peers = PeerOptions {
            api_version: self.api_version,
            candidates_first: self.candidates_first,
            address: self.media_address,
            relaying: self.relay.into(),
            ..PeerOptions::default()
        };
        let behaviour = Behaviour {
            transport: self.transport.into(),
            authority: self.authority,
            peers,
            ..Behaviour::default()
        };
        let launcher = match self.instances {
            Program::Stream => simulated_instances_with(behaviour),
            Program::StreamWithoutRoles => simulated_instances_with(Behaviour {
                capabilities: Capabilities::default(),
                ..behaviour
            }),
            Program::Nothing => idle_instances(),
        };
        if !has_vp8() {
            println!("instances have H.264 only: VP8 needs the package vpx-tools");
        }
        let ams = Ams::start(config, launcher).context("the AMS simulator cannot listen")?;
        ams.set_faults(self.mishaps.into());
        println!("https://{}", ams.address());
        println!("SHA-256 fingerprint of its certificate: {}", ams.fingerprint());
        if let Some(password) = password.filter(|_| made_up) {
            println!("trust password: {password}");
        }
        Ok(ams)
    }
}

/// The simulator as a program of its own: it has nothing that outlives it.
pub struct Running {
    ams: Ams,
    drain: Drain,
}

impl From<Ams> for Running {
    fn from(ams: Ams) -> Self {
        Self { ams, drain: Drain::default() }
    }
}

impl Service for Running {
    fn fatal(&self) -> impl Future<Output = String> {
        std::future::pending()
    }

    /// There are no actors in it.
    fn supervisor(&self) -> Supervisor {
        Supervisor::default()
    }

    async fn away(&self) -> Away {
        Away::new()
    }

    fn drain(&self) -> &Drain {
        &self.drain
    }

    fn drain_timeout(&self) -> Duration {
        Duration::ZERO
    }

    fn drained(&self) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    /// Its certificate lasts as long as it does.
    async fn reload(&self) {}

    async fn stop(self) {
        self.ams.stop().await;
    }
}

/// Checks that every application has a name of its own.
pub fn check_names(applications: &[ReadyApplication]) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    let twice = applications.iter().find(|application| !names.insert(&application.name));
    match twice {
        Some(ReadyApplication { name, .. }) => {
            anyhow::bail!("the application {name} is named twice: name it once")
        }
        None => Ok(()),
    }
}

/// Has the running AMS of `nodes` ask their agent for the sessions of instances that stream, with a
/// `token` of the scope `ams`.
pub async fn set_agent(nodes: &NodeFiles, token: &str) -> anyhow::Result<()> {
    let pins = Trust::Pins(vec![nodes.ams.identity()?.fingerprint()]);
    let tls = client_config(&pins, Some(&nodes.ams_client().identity()?))?;
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
    let client = client.timeout(CONFIGURE_TIMEOUT).build()?;
    for (name, value) in [
        ("agent.api.url", nodes.agent_url()),
        ("agent.api.fingerprint", nodes.agent_pin()?.to_string()),
        ("agent.api.token", token.to_owned()),
    ] {
        let request = client.patch(format!("{}/1.0/config", nodes.ams_url()));
        let answer = request.json(&json!({ "name": name, "value": value })).send().await;
        let status = answer.with_context(|| format!("AMS was not told {name}"))?.status();
        anyhow::ensure!(status.is_success(), "AMS does not take {name}: {status}");
    }
    Ok(())
}

/// Starts the AMS of `nodes`, which trusts their agent and has room for `capacity` instances, in
/// this process. `boot` is from the creation of an instance until it runs `launcher`. Needs a
/// running actix system.
pub fn start(
    nodes: &NodeFiles,
    boot: Duration,
    capacity: usize,
    launcher: Launcher,
) -> anyhow::Result<Ams> {
    let config = Config {
        listen: nodes.ams_address(),
        identity: nodes.ams.identity()?,
        trusted: vec![nodes.ams_client_pin()?],
        trust_password: None,
        applications: vec![APPLICATION.into()],
        boot,
        capacity,
        cluster_name: "dev".to_owned(),
    };
    Ams::start(config, launcher).context("the AMS simulator cannot listen")
}
