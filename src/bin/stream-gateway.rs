//! What clients see: arguments, configuration, logging, run, exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context;
use clap::{Parser, Subcommand};
use stream_agent::gateway::{GatewayConfig, RunningGateway};
use stream_agent::{init, program};
use stream_gateway::admin;
use stream_pki::Identity;

const CONFIG: &str = "/etc/stream-gateway/gateway.toml";

/// Serves clients: sessions, their sockets, service accounts, a page.
///
/// First `init`, once on every node; then write a configuration file (config/gateway.toml is the
/// reference), look at it with `check-config`, and `run`. `account create` makes the first token.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the secrets, keys and certificates of this node; what exists is left as it is.
    Init {
        /// Directory to make them in; it gets mode 0700.
        #[arg(long, default_value = "/etc/stream-gateway")]
        dir: PathBuf,
        /// Name or address that clients use for this node; may be repeated.
        #[arg(long = "host", default_value = "localhost")]
        hosts: Vec<String>,
        /// Join the gateways that exist: the file `sealing.key` of the first node.
        #[arg(long, value_name = "FILE")]
        join: Option<PathBuf>,
    },
    /// Look at a configuration file and everything it names, and start nothing.
    CheckConfig {
        #[arg(long, value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
    },
    /// Run the service until SIGTERM or SIGINT.
    Run {
        #[arg(long, value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
    },
    /// Manage the service accounts of a gateway that runs on this node.
    Account {
        /// The operator's socket; by default the one the configuration names.
        #[arg(long, value_name = "PATH", global = true)]
        socket: Option<PathBuf>,
        #[arg(long, value_name = "FILE", default_value = CONFIG, global = true)]
        config: PathBuf,
        #[command(subcommand)]
        command: Account,
    },
}

#[derive(Subcommand)]
enum Account {
    /// Make an account and print its token, which is shown this once.
    Create {
        name: String,
        /// Days until the token ends.
        #[arg(long, value_name = "DAYS", default_value_t = 365)]
        expiration: u64,
    },
}

fn main() -> ExitCode {
    program::exit(match Arguments::parse().command {
        Command::Init { dir, hosts, join } => make(dir, &hosts, join),
        Command::CheckConfig { config } => check(config),
        Command::Run { config } => run(config),
        Command::Account { socket, config, command } => account(socket, &config, command),
    })
}

fn make(dir: PathBuf, hosts: &[String], join: Option<PathBuf>) -> anyhow::Result<()> {
    eprintln!("making secrets and RSA-4096 keys in {}, a few seconds", dir.display());
    program::print_files(&init::gateway(&dir, hosts, join.as_deref())?);
    let identity = Identity::load(dir.join("server.crt"), dir.join("server.key"))?;
    println!("SHA-256 fingerprint of the server certificate: {}", identity.fingerprint());
    Ok(())
}

fn check(path: PathBuf) -> anyhow::Result<()> {
    GatewayConfig::read(&path)?;
    println!("{}: good", path.display());
    Ok(())
}

fn run(path: PathBuf) -> anyhow::Result<()> {
    program::start_logging();
    let config = GatewayConfig::read(&path)?;
    program::run(|| RunningGateway::start(config), async |gateway| gateway.stop().await)
}

fn account(socket: Option<PathBuf>, config: &Path, command: Account) -> anyhow::Result<()> {
    let socket = match socket {
        Some(socket) => socket,
        None => GatewayConfig::read(config)?.gateway.admin_socket,
    };
    let Account::Create { name, expiration } = command;
    let now = SystemTime::UNIX_EPOCH.elapsed().context("the clock is before 1970")?.as_secs();
    let expires = now.saturating_add(expiration.saturating_mul(24 * 3600));
    actix::System::new().block_on(async {
        let token = admin::Client::new(socket).create_account(&name, Some(expires)).await?;
        println!("{token}");
        Ok(())
    })
}
