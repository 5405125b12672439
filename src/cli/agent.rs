//! The program stream-agent: its own part of the command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use stream_bridge::try_connect;
use stream_pki::{Fingerprint, Identity};
use stream_protocol::subjects::NatsUser;

use crate::agent::{Agent, AgentConfig};
use crate::audit::AuditSources;
use crate::certificates::CertificateUse;
use crate::cli::ams::Ams;
use crate::cli::named_files::{of_nats, of_server, secrets_of_nats};
use crate::cli::token::Token;
use crate::cli::turn::Turn;
use crate::cli::{Command, Program, Tried};
use crate::config::ConfigError;
use crate::doctor::checks::{AmsPlace, Subject};
use crate::doctor::files::SecretFile;
use crate::init::{self, File, SealingKey};
use crate::logging::LogConfig;
use crate::surroundings::Surroundings;

/// Launches instances through AMS for clients of the gateway, gives them tokens and TURN
/// credentials, and relays their signals.
///
/// First `init`, once on every node; then write a configuration file (config/agent.toml is the
/// reference), look at it with `check-config`, and `run`.
#[derive(Parser)]
#[command(name = "stream-agent", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command<StreamAgent>,
}

#[derive(Subcommand)]
enum Own {
    /// Have AMS trust this node, and ask it for sessions.
    #[command(subcommand)]
    Ams(Ams),
    /// Make, look at, narrow and revoke tokens, and change the keys that sign them.
    #[command(subcommand)]
    Token(Token),
    /// Try the relays, take one out, and change the secret that they share with the agents.
    #[command(subcommand)]
    Turn(Turn),
}

/// How long a relay may take to answer.
const RELAY_TIMEOUT: Duration = Duration::from_secs(5);

struct StreamAgent;

impl Program for StreamAgent {
    const DIR: &'static str = "/etc/stream-agent";
    const CONFIG: &'static str = "/etc/stream-agent/agent.toml";
    const HOSTS: &'static str =
        "Name or address by which instances and AMS reach this node; may be repeated";
    const CERTIFICATES: &'static [(&'static str, &'static str)] =
        &[("server", "the server certificate"), ("ams-client", "the AMS client")];

    const PINNED: &'static [&'static str] = &["server", "ams-client"];

    type Command = Own;
    type Config = AgentConfig;
    type Service = Agent;

    fn init(dir: &Path, hosts: &[String], join: Option<&SealingKey>) -> anyhow::Result<Vec<File>> {
        init::agent(dir, hosts, join)
    }

    fn read(path: &Path) -> Result<AgentConfig, ConfigError> {
        AgentConfig::read(path)
    }

    fn log(config: &AgentConfig) -> &LogConfig {
        &config.log
    }

    fn audit(config: &AgentConfig) -> AuditSources {
        config.audit_sources()
    }

    async fn try_dependencies(config: AgentConfig) -> Tried {
        let nats = try_connect(NatsUser::Agent, config.nats);
        let ams = stream_ams::try_connect(&config.ams);
        let relays = stream_turn::try_relays(&config.turn, RELAY_TIMEOUT);
        let (nats, ams, relays) = tokio::join!(nats, ams, relays);
        let ams = ams.map(|()| format!("{} trusts this node", config.ams.url));
        let ams = ams.map_err(|error| format!("{:#}", anyhow::Error::from(error)));
        let mut tried = vec![("nats".to_owned(), nats), ("ams".to_owned(), ams)];
        match relays {
            Ok(relays) => tried.extend(relays.into_iter().map(|(name, answered)| {
                let answered = answered.map(|time| format!("answers in {} ms", time.as_millis()));
                (format!("relay {name}"), answered.map_err(|error| error.to_string()))
            })),
            Err(error) => tried.push(("relays".to_owned(), Err(error.to_string()))),
        }
        tried
    }

    fn certificates(AgentConfig { tls, nats, ams, turn, .. }: &AgentConfig) -> Vec<CertificateUse> {
        let mut uses = of_server(tls, "instances, and agent.api.fingerprint of AMS");
        uses.extend(of_nats(nats));
        let client =
            CertificateUse::own("ams client", "ams.certificate", &ams.certificate, &ams.key);
        uses.push(client.pinned_by("AMS, in its trust store"));
        let trusted = |of, named_by, file: &PathBuf| CertificateUse::trusted(of, named_by, file);
        uses.extend(ams.ca.iter().map(|file| trusted("ams ca", "ams.ca", file)));
        let pools = turn.pools.iter().flat_map(|pool| &pool.servers);
        let relays = turn.servers.iter().chain(pools).filter_map(|relay| relay.ca.as_ref());
        uses.extend(relays.map(|file| trusted("relay ca", "turn.servers.ca", file)));
        uses
    }

    fn subject(config: &AgentConfig) -> Subject {
        let AgentConfig { tokens, turn, nats, ams, .. } = config;
        let mut secrets = vec![
            SecretFile::kept("tokens.sealing_key", &tokens.sealing_key),
            SecretFile::once("tokens.first_root_key", &tokens.first_root_key, "agent.root"),
            SecretFile::kept("turn.sealing_key", &turn.sealing_key),
            SecretFile::once("turn.first_secret", &turn.first_secret, "agent.turn"),
            SecretFile::kept("tls.key", &config.tls.key),
            SecretFile::kept("ams.key", &ams.key),
        ];
        secrets.extend(secrets_of_nats(nats));
        let has_relays = !turn.servers.is_empty() || !turn.pools.is_empty();
        Subject {
            service: "stream-agent",
            nats: (NatsUser::Agent, nats.clone()),
            ams: Some(AmsPlace {
                config: ams.clone(),
                own_url: config.agent.url.clone(),
                own_fingerprint: own_fingerprint(config),
            }),
            secrets,
            state: tokens.state.clone(),
            admin_socket: config.admin.socket.clone(),
            listen: config.api.listen,
            has_relays: Some(has_relays),
        }
    }

    fn start(config: AgentConfig, surroundings: Surroundings) -> anyhow::Result<Agent> {
        Agent::start_in(surroundings, config)
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

/// What AMS is shown by this agent; `None` behind a balancer, which has a certificate of its own.
fn own_fingerprint(config: &AgentConfig) -> Option<Fingerprint> {
    let AgentConfig { agent, tls, .. } = config;
    let identity = agent.pin.then(|| Identity::load(&tls.certificate, &tls.key).ok()).flatten();
    identity.map(|identity| identity.fingerprint())
}

/// Carries out what the command line says.
pub fn main() -> ExitCode {
    Arguments::parse().command.run()
}

/// The command line, for whoever describes it.
pub fn command() -> clap::Command {
    Arguments::command()
}
