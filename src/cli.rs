//! The command line of both programs: what they have in common is said once, here.

pub mod account;
pub mod ams;
pub mod explain;
pub mod operate;
pub mod session;
pub mod share;
pub mod span;
pub mod token;
pub mod turn;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use stream_pki::Identity;

use self::operate::AdminEndpoint;
use crate::config::ConfigError;
use crate::init::File;
use crate::owner::Owner;
use crate::program::{self, Service};

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

    /// The commands that only this program has.
    type Command: Subcommand;
    type Config;
    type Service: Service;

    fn init(dir: &Path, hosts: &[String], join: Option<&Path>) -> anyhow::Result<Vec<File>>;

    /// Reads a configuration and looks at everything it names, without starting anything.
    fn read(path: &Path) -> Result<Self::Config, ConfigError>;

    /// Starts the service with the configuration that was read from `file`.
    fn start(config: Self::Config, file: &Path) -> anyhow::Result<Self::Service>;

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
    },
    /// Run the service until SIGTERM or SIGINT. SIGHUP has it read its certificates again, and an
    /// agent its configuration: it takes up other relays and STUN servers, and says what else takes
    /// a restart.
    Run {
        #[arg(long, value_name = "FILE", default_value = P::CONFIG)]
        config: PathBuf,
    },
    #[command(flatten)]
    Own(P::Command),
    #[command(flatten)]
    Operate(operate::Command),
}

impl<P: Program> Command<P> {
    /// Does it; an error is one sentence on standard error and an exit code.
    pub fn run(self) -> ExitCode {
        program::exit(match self {
            Self::Init { dir, hosts, join, owner } => {
                init::<P>(&dir, &hosts, join.as_deref(), owner.as_deref())
            }
            Self::CheckConfig { config } => check_config::<P>(&config),
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
    let service = Path::new(P::DIR).file_name().unwrap_or_default().to_string_lossy();
    // Before anything is made.
    let owner = Owner::find(owner, &service)?;
    eprintln!("making secrets and RSA-4096 keys in {}, a few seconds", dir.display());
    program::print_files(&P::init(dir, hosts, join)?);
    for (stem, what) in P::CERTIFICATES {
        let file = |end: &str| dir.join(format!("{stem}.{end}"));
        let identity = Identity::load(file("crt"), file("key"))?;
        println!("SHA-256 fingerprint of {what}: {}", identity.fingerprint());
    }
    match owner {
        Some(owner) => {
            owner.give(dir)?;
            println!("all of it belongs to the user {}", owner.name);
        }
        None => println!("all of it belongs to whoever ran this: let the service run as the same"),
    }
    Ok(())
}

fn check_config<P: Program>(path: &Path) -> anyhow::Result<()> {
    P::read(path)?;
    println!("{}: good", path.display());
    Ok(())
}

fn run<P: Program>(path: &Path) -> anyhow::Result<()> {
    program::start_logging();
    program::keep_memory_private();
    let config = P::read(path)?;
    program::run(|| P::start(config, path))
}

fn gateway_client(
    endpoint: AdminEndpoint,
    default_config: &Path,
) -> Result<stream_gateway::admin::Client, ConfigError> {
    Ok(stream_gateway::admin::Client::new(endpoint.path(default_config)?))
}
