//! The node service: arguments, configuration, logging, run, exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stream_agent::agent::{Agent, AgentConfig};
use stream_agent::{init, program};
use stream_pki::Identity;

/// Launches instances through AMS for clients of the gateway, gives them tokens and TURN
/// credentials, and relays their signals.
///
/// First `init`, once on every node; then write a configuration file (config/agent.toml is the
/// reference), look at it with `check-config`, and `run`.
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
        #[arg(long, default_value = "/etc/stream-agent")]
        dir: PathBuf,
        /// Name or address by which instances and AMS reach this node; may be repeated.
        #[arg(long = "host", default_value = "localhost")]
        hosts: Vec<String>,
        /// Join the agents that exist: the file `sealing.key` of the first node.
        #[arg(long, value_name = "FILE")]
        join: Option<PathBuf>,
    },
    /// Look at a configuration file and everything it names, and start nothing.
    CheckConfig {
        #[arg(long, value_name = "FILE", default_value = "/etc/stream-agent/agent.toml")]
        config: PathBuf,
    },
    /// Run the service until SIGTERM or SIGINT.
    Run {
        #[arg(long, value_name = "FILE", default_value = "/etc/stream-agent/agent.toml")]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    program::exit(match Arguments::parse().command {
        Command::Init { dir, hosts, join } => make(dir, &hosts, join),
        Command::CheckConfig { config } => check(config),
        Command::Run { config } => run(config),
    })
}

fn make(dir: PathBuf, hosts: &[String], join: Option<PathBuf>) -> anyhow::Result<()> {
    eprintln!("making secrets and RSA-4096 keys in {}, a few seconds", dir.display());
    program::print_files(&init::agent(&dir, hosts, join.as_deref())?);
    for (stem, what) in [("server", "the server certificate"), ("ams-client", "the AMS client")] {
        let file = |end: &str| dir.join(format!("{stem}.{end}"));
        let identity = Identity::load(file("crt"), file("key"))?;
        println!("SHA-256 fingerprint of {what}: {}", identity.fingerprint());
    }
    Ok(())
}

fn check(path: PathBuf) -> anyhow::Result<()> {
    AgentConfig::read(&path)?;
    println!("{}: good", path.display());
    Ok(())
}

fn run(path: PathBuf) -> anyhow::Result<()> {
    program::start_logging();
    let config = AgentConfig::read(&path)?;
    program::run(|| Agent::start(config), async |agent| agent.stop().await)
}
