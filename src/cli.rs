//! The command line of both programs: what they have in common is said once, here.

pub mod account;
pub mod agent;
pub mod ams;
pub mod audit;
mod configure_ams;
pub mod doctor;
pub mod explain;
pub mod gateway;
mod named_files;
pub mod operate;
pub mod pki;
pub mod session;
pub mod share;
pub mod span;
pub mod token;
pub mod turn;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stream_pki::Identity;

use self::audit::Audit;
use self::operate::AdminEndpoint;
use self::pki::Pki;
use crate::audit::AuditSources;
use crate::certificates::CertificateUse;
use crate::config::ConfigError;
use crate::config_source::ConfigSource;
use crate::doctor::checks::Subject;
use crate::effective_config::effective_config;
use crate::init::{File, SealingKey};
use crate::logging::{LogConfig, finish_logging, start_logging};
use crate::notify::ServiceManager;
use crate::output::say;
use crate::owner::Owner;
use crate::program::{self, Service};
use crate::surroundings::{Surroundings, inherited_listener};

/// What came of trying each of the things that a configuration names.
pub type Tried = Vec<(String, Result<String, String>)>;

/// One of the two programs, as far as the command line knows it.
pub trait Program {
    /// Where `init` makes the files of a node.
    const DIR: &'static str;
    /// The configuration that `run` takes.
    const CONFIG: &'static str;
    /// Who reaches the node by the names that `init` is given.
    const HOSTS: &'static str;
    /// The certificates whose fingerprints others are told: name of the file, and what it is.
    const CERTIFICATES: &'static [(&'static str, &'static str)];

    /// The pairs that others know by their fingerprints: a next one is told to them ahead.
    const PINNED: &'static [&'static str];

    /// The commands that only this program has.
    type Command: Subcommand;
    type Config: DeserializeOwned + Serialize;
    type Service: Service;

    fn init(dir: &Path, hosts: &[String], join: Option<&SealingKey>) -> anyhow::Result<Vec<File>>;

    /// Reads a configuration and looks at everything it names, without starting anything.
    fn read(path: &Path) -> Result<Self::Config, ConfigError>;

    /// How a service with this configuration logs.
    fn log(config: &Self::Config) -> &LogConfig;

    /// Where a service with this configuration keeps its audit log.
    fn audit(config: &Self::Config) -> AuditSources;

    /// Tries once what a configuration names elsewhere, and changes nothing there: what it is, and
    /// what was found or why it cannot be used.
    fn try_dependencies(config: Self::Config) -> impl Future<Output = Tried>;

    /// Returns every certificate that a configuration names.
    fn certificates(config: &Self::Config) -> Vec<CertificateUse>;

    /// Returns what `doctor` looks at.
    fn subject(config: &Self::Config) -> Subject;

    /// Starts the service with the configuration that was read.
    fn start(config: Self::Config, surroundings: Surroundings) -> anyhow::Result<Self::Service>;

    /// Runs one of its own commands.
    fn operate(command: Self::Command) -> anyhow::Result<()>;
}

/// The commands of a program.
#[derive(Subcommand)]
pub enum Command<P: Program> {
    /// Make the secrets, keys and certificates of this node; what exists is left as it is.
    Init {
        /// Directory to make them in; it gets mode 0700.
        #[arg(long, default_value = P::DIR)]
        dir: PathBuf,
        #[arg(long = "host", default_value = "localhost", help = P::HOSTS)]
        hosts: Vec<String>,
        /// Join the units that exist: the file `sealing.key` of the first node.
        #[arg(long, value_name = "FILE")]
        join: Option<PathBuf>,
        /// The user that the service runs as, whom all is given to. When root runs this, it is the
        /// one called as the service, if there is one.
        #[arg(long, value_name = "USER")]
        owner: Option<String>,
    },
    /// Look at a configuration file and everything it names, and start nothing.
    CheckConfig {
        #[arg(long, value_name = "FILE", default_value = P::CONFIG)]
        config: PathBuf,
        /// Also try what it names elsewhere: NATS, and for an agent AMS and the relays. Nothing is
        /// changed there.
        #[arg(long)]
        online: bool,
    },
    /// Look at the configuration that holds.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make, renew and list certificates.
    #[command(subcommand)]
    Pki(Pki),
    /// Look at all that the service needs, and print what is wrong with what to do about it, the
    /// worst first: configuration, files, certificates, clocks, NATS, AMS, relays, and the unit.
    /// Changes nothing, and takes at most 30 s, whether the service runs or not. Exit code 1 tells
    /// of warnings, 2 of errors.
    Doctor {
        /// The configuration of the service; by default the one that `run` takes.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look into the audit log.
    #[command(subcommand)]
    Audit(Audit),
    /// Run the service until SIGTERM or SIGINT. SIGHUP has it read its files again, as `reload`
    /// does: it takes up what can change while it runs, and says what else takes a restart.
    ///
    /// A variable of the environment holds over a key of the file: STREAM__NATS__TOKEN over `token`
    /// in `[nats]`. Its value is one of TOML, or text. Where systemd hands over a listening socket,
    /// the service takes that, and lets it be at its end.
    Run {
        #[arg(long, value_name = "FILE", default_value = P::CONFIG)]
        config: PathBuf,
    },
    #[command(flatten)]
    Own(P::Command),
    #[command(flatten)]
    Operate(operate::Command),
}

/// What there is to see of a configuration.
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Print every value that holds, and where it comes from: a line of the file, a variable of the
    /// environment, or the default.
    Show {
        /// The configuration of the service; by default the one that `run` takes.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

impl<P: Program> Command<P> {
    /// Does it; an error is one sentence on standard error and an exit code.
    pub fn run(self) -> ExitCode {
        program::exit(match self {
            Self::Pki(command) => return program::exit_by(command.run::<P>()),
            Self::Doctor { config, json } => {
                let config = config.unwrap_or_else(|| P::CONFIG.into());
                return program::exit_by(doctor::run::<P>(&config, json));
            }
            Self::Init { dir, hosts, join, owner } => {
                init::<P>(&dir, &hosts, join.as_deref(), owner.as_deref())
            }
            Self::CheckConfig { config, online } => check_config::<P>(&config, online),
            Self::Config(ConfigCommand::Show { config }) => {
                show_config::<P>(config.as_deref().unwrap_or(Path::new(P::CONFIG)))
            }
            Self::Audit(command) => {
                command.run(Path::new(P::CONFIG), |path| Ok(P::audit(&P::read(path)?)))
            }
            Self::Run { config } => run::<P>(&config),
            Self::Own(command) => P::operate(command),
            Self::Operate(command) => command.run(Path::new(P::CONFIG)),
        })
    }
}

fn init<P: Program>(
    dir: &Path,
    hosts: &[String],
    join: Option<&Path>,
    owner: Option<&str>,
) -> anyhow::Result<()> {
    let service = service_name::<P>();
    // Before anything is made.
    let owner = Owner::find(owner, &service)?;
    // After an earlier run, or as a package has made it. What others have put there stays theirs.
    let is_given = owner.as_ref().is_some_and(|owner| owner.owns(dir));
    // Root may read what has just been copied here for nobody else.
    let as_caller = join.and_then(|path| SealingKey::read(path).ok());
    if let Some(owner) = owner.as_ref().filter(|_| is_given) {
        owner.become_user()?;
    }
    let join = match (as_caller, join) {
        (None, Some(path)) => Some(SealingKey::read(path)?),
        (key, _) => key,
    };
    eprintln!("making secrets and RSA-4096 keys in {}, a few seconds", dir.display());
    program::print_files(&P::init(dir, hosts, join.as_ref())?);
    for (stem, what) in P::CERTIFICATES {
        let file = |end: &str| dir.join(format!("{stem}.{end}"));
        let identity = Identity::load(file("crt"), file("key"))?;
        say!("SHA-256 fingerprint of {what}: {}", identity.fingerprint());
    }
    match owner {
        Some(owner) => {
            if !is_given {
                owner.give(dir)?;
            }
            say!("all of it belongs to the user {}", owner.name);
        }
        None => say!("all of it belongs to whoever ran this: let the service run as the same"),
    }
    Ok(())
}

/// What the program, its unit and its user are called.
fn service_name<P: Program>() -> Cow<'static, str> {
    Path::new(P::DIR).file_name().unwrap_or_default().to_string_lossy()
}

fn check_config<P: Program>(path: &Path, online: bool) -> anyhow::Result<()> {
    let config = P::read(path)?;
    say!("{}: good", path.display());
    if !online {
        return Ok(());
    }
    let tried = actix::System::new().block_on(P::try_dependencies(config));
    for (name, tried) in &tried {
        match tried {
            Ok(found) => say!("{name}: {found}"),
            Err(why) => say!("{name}: {why}"),
        }
    }
    let failed = tried.iter().filter(|(_, tried)| tried.is_err()).count();
    anyhow::ensure!(failed == 0, "{failed} of {} cannot be used from here", tried.len());
    Ok(())
}

fn show_config<P: Program>(path: &Path) -> anyhow::Result<()> {
    let source = ConfigSource::read(path)?;
    let config: P::Config = source.parse()?;
    say!("{}", effective_config(&config, &source)?.trim_end());
    Ok(())
}

fn run<P: Program>(path: &Path) -> anyhow::Result<()> {
    let private = program::keep_memory_private();
    let config = P::read(path)?;
    start_logging(P::log(&config));
    if let Err(cause) = private {
        log::warn!(cause:%; "a core of this process would hold its keys");
    }
    let manager = Arc::new(ServiceManager::from_env()?);
    let (file, listener) = (Some(path.to_owned()), inherited_listener()?);
    let surroundings = Surroundings { file, listener, manager: Arc::clone(&manager) };
    let result = program::run(&manager, || P::start(config, surroundings));
    finish_logging();
    result
}

fn gateway_client(
    endpoint: AdminEndpoint,
    default_config: &Path,
) -> Result<stream_gateway::admin::Client, ConfigError> {
    Ok(stream_gateway::admin::Client::new(endpoint.path(default_config)?))
}
