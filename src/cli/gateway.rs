//! The program stream-gateway: its own part of the command line.

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use stream_bridge::try_connect;
use stream_protocol::subjects::NatsUser;

use crate::audit::AuditSources;
use crate::certificates::CertificateUse;
use crate::cli::account::Account;
use crate::cli::named_files::{of_nats, of_server, secrets_of_nats};
use crate::cli::session::Session;
use crate::cli::share::Share;
use crate::cli::token::Token;
use crate::cli::{Command, Program, Tried};
use crate::config::ConfigError;
use crate::doctor::checks::Subject;
use crate::doctor::files::SecretFile;
use crate::gateway::{Gateway, GatewayConfig};
use crate::init::{self, File, SealingKey};
use crate::logging::LogConfig;
use crate::surroundings::Surroundings;

/// Serves clients: sessions, their sockets, service accounts, a page.
///
/// First `init`, once on every node; then write a configuration file (config/gateway.toml is the
/// reference), look at it with `check-config`, and `run`. `account create` makes the first token.
#[derive(Parser)]
#[command(name = "stream-gateway", version)]
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

    /// Clients that pin it are told by hand: all others trust the authority.
    const PINNED: &'static [&'static str] = &[];

    type Command = Own;
    type Config = GatewayConfig;
    type Service = Gateway;

    fn init(dir: &Path, hosts: &[String], join: Option<&SealingKey>) -> anyhow::Result<Vec<File>> {
        init::gateway(dir, hosts, join)
    }

    fn read(path: &Path) -> Result<GatewayConfig, ConfigError> {
        GatewayConfig::read(path)
    }

    fn log(config: &GatewayConfig) -> &LogConfig {
        &config.log
    }

    fn audit(config: &GatewayConfig) -> AuditSources {
        config.audit_sources()
    }

    async fn try_dependencies(config: GatewayConfig) -> Tried {
        vec![("nats".to_owned(), try_connect(NatsUser::Gateway, config.nats).await)]
    }

    fn certificates(GatewayConfig { tls, nats, .. }: &GatewayConfig) -> Vec<CertificateUse> {
        let mut uses = of_server(tls, "clients that do not trust its authority");
        uses.extend(of_nats(nats));
        uses
    }

    fn subject(config: &GatewayConfig) -> Subject {
        let GatewayConfig { tokens, nats, .. } = config;
        let mut secrets = vec![
            SecretFile::kept("tokens.sealing_key", &tokens.sealing_key),
            SecretFile::once("tokens.first_root_key", &tokens.first_root_key, "gateway.root"),
            SecretFile::kept("tls.key", &config.tls.key),
        ];
        secrets.extend(secrets_of_nats(nats));
        Subject {
            service: "stream-gateway",
            nats: (NatsUser::Gateway, nats.clone()),
            ams: None,
            secrets,
            state: tokens.state.clone(),
            admin_socket: config.admin.socket.clone(),
            listen: config.gateway.listen,
            has_relays: None,
        }
    }

    fn start(config: GatewayConfig, surroundings: Surroundings) -> anyhow::Result<Gateway> {
        Gateway::start_in(surroundings, config)
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

/// Carries out what the command line says.
pub fn main() -> ExitCode {
    Arguments::parse().command.run()
}

/// The command line, for whoever describes it.
pub fn command() -> clap::Command {
    Arguments::command()
}
