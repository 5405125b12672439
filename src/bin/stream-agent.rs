//! The node service: arguments, configuration, logging, run, exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stream_agent::agent::{Agent, AgentConfig};
use stream_agent::ams::Ams;
use stream_agent::token::Token;
use stream_agent::turn::Turn;
use stream_agent::{init, operator, program};
use stream_pki::Identity;

const CONFIG: &str = "/etc/stream-agent/agent.toml";

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
        #[arg(long, value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
    },
    /// Run the service until SIGTERM or SIGINT.
    Run {
        #[arg(long, value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
    },
    /// Have AMS trust this node.
    #[command(subcommand)]
    Ams(Ams),
    /// Make, look at, narrow and revoke tokens, and change the keys that sign them.
    #[command(subcommand)]
    Token(Token),
    /// Try the relays, take one out, and change the secret that they share with the agents.
    #[command(subcommand)]
    Turn(Turn),
    #[command(flatten)]
    Operate(operator::Command),
}

fn main() -> ExitCode {
    program::exit(match Arguments::parse().command {
        Command::Init { dir, hosts, join } => make(dir, &hosts, join),
        Command::CheckConfig { config } => check(config),
        Command::Run { config } => run(config),
        Command::Ams(command) => command.run(Path::new(CONFIG)),
        Command::Token(command) => command.run(Path::new(CONFIG)),
        Command::Turn(command) => command.run(Path::new(CONFIG)),
        Command::Operate(command) => command.run(Path::new(CONFIG)),
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
    program::run(|| Agent::start(config))
}
