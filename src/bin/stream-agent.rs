//! The node service: its own part of the command line.

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stream_agent::agent::{Agent, AgentConfig};
use stream_agent::cli::ams::Ams;
use stream_agent::cli::token::Token;
use stream_agent::cli::turn::Turn;
use stream_agent::cli::{Command, Program};
use stream_agent::config::ConfigError;
use stream_agent::init::{self, File};

/// Launches instances through AMS for clients of the gateway, gives them tokens and TURN
/// credentials, and relays their signals.
///
/// First `init`, once on every node; then write a configuration file (config/agent.toml is the
/// reference), look at it with `check-config`, and `run`.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command<StreamAgent>,
}

#[derive(Subcommand)]
enum Own {
    /// Have AMS trust this node.
    #[command(subcommand)]
    Ams(Ams),
    /// Make, look at, narrow and revoke tokens, and change the keys that sign them.
    #[command(subcommand)]
    Token(Token),
    /// Try the relays, take one out, and change the secret that they share with the agents.
    #[command(subcommand)]
    Turn(Turn),
}

struct StreamAgent;

impl Program for StreamAgent {
    const DIR: &'static str = "/etc/stream-agent";
    const CONFIG: &'static str = "/etc/stream-agent/agent.toml";
    const HOSTS: &'static str =
        "Name or address by which instances and AMS reach this node; may be repeated";
    const CERTIFICATES: &'static [(&'static str, &'static str)] =
        &[("server", "the server certificate"), ("ams-client", "the AMS client")];

    type Command = Own;
    type Config = AgentConfig;
    type Service = Agent;

    fn init(dir: &Path, hosts: &[String], join: Option<&Path>) -> anyhow::Result<Vec<File>> {
        init::agent(dir, hosts, join)
    }

    fn read(path: &Path) -> Result<AgentConfig, ConfigError> {
        AgentConfig::read(path)
    }

    fn start(config: AgentConfig, file: &Path) -> anyhow::Result<Agent> {
        Ok(Agent::start(config)?.configured_by(file))
    }

    fn operate(command: Own) -> anyhow::Result<()> {
        let config = Path::new(Self::CONFIG);
        match command {
            Own::Ams(command) => command.run(config),
            Own::Token(command) => command.run(config),
            Own::Turn(command) => command.run(config),
        }
    }
}

fn main() -> ExitCode {
    Arguments::parse().command.run()
}
