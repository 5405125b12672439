//! What clients see: its own part of the command line.

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stream_agent::cli::account::Account;
use stream_agent::cli::session::Session;
use stream_agent::cli::share::Share;
use stream_agent::cli::token::Token;
use stream_agent::cli::{Command, Program};
use stream_agent::config::ConfigError;
use stream_agent::gateway::{Gateway, GatewayConfig};
use stream_agent::init::{self, File};

/// Serves clients: sessions, their sockets, service accounts, a page.
///
/// First `init`, once on every node; then write a configuration file (config/gateway.toml is the
/// reference), look at it with `check-config`, and `run`. `account create` makes the first token.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command<StreamGateway>,
}

#[derive(Subcommand)]
enum Own {
    /// Manage the service accounts.
    #[command(subcommand)]
    Account(Account),
    /// Look at sessions and end them.
    #[command(visible_alias = "sessions", subcommand)]
    Session(Session),
    /// Make, look at, change and end links to sessions.
    #[command(subcommand)]
    Share(Share),
    /// Make, look at, narrow and revoke tokens, and change the keys that sign them.
    #[command(subcommand)]
    Token(Token),
}

struct StreamGateway;

impl Program for StreamGateway {
    const DIR: &'static str = "/etc/stream-gateway";
    const CONFIG: &'static str = "/etc/stream-gateway/gateway.toml";
    const HOSTS: &'static str = "Name or address that clients use for this node; may be repeated";
    const CERTIFICATES: &'static [(&'static str, &'static str)] =
        &[("server", "the server certificate")];

    type Command = Own;
    type Config = GatewayConfig;
    type Service = Gateway;

    fn init(dir: &Path, hosts: &[String], join: Option<&Path>) -> anyhow::Result<Vec<File>> {
        init::gateway(dir, hosts, join)
    }

    fn read(path: &Path) -> Result<GatewayConfig, ConfigError> {
        GatewayConfig::read(path)
    }

    fn start(config: GatewayConfig, _: &Path) -> anyhow::Result<Gateway> {
        Gateway::start(config)
    }

    fn operate(command: Own) -> anyhow::Result<()> {
        let config = Path::new(Self::CONFIG);
        match command {
            Own::Account(command) => command.run(config),
            Own::Session(command) => command.run(config),
            Own::Share(command) => command.run(config),
            Own::Token(command) => command.run(config),
        }
    }
}

fn main() -> ExitCode {
    Arguments::parse().command.run()
}
