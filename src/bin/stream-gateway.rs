//! What clients see: arguments, configuration, logging, run, exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stream_admin::moment;
use stream_agent::gateway::{Gateway, GatewayConfig};
use stream_agent::operator::{self, AdminEndpoint, ask};
use stream_agent::token::Token;
use stream_agent::{explain, init, program};
use stream_gateway::admin::{Client, SessionInfo, ShareInfo};
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
    /// Manage the service accounts.
    #[command(subcommand)]
    Account(Account),
    /// Look at sessions and end them.
    #[command(subcommand)]
    Session(Session),
    /// Make, look at, change and end links to sessions.
    #[command(subcommand)]
    Share(Share),
    /// Make, look at, narrow and revoke tokens, and change the keys that sign them.
    #[command(subcommand)]
    Token(Token),
    #[command(flatten)]
    Operate(operator::Command),
}

#[derive(Subcommand)]
enum Account {
    /// Make an account and print its token, which is shown this once.
    Create {
        name: String,
        /// Days until the token ends.
        #[arg(long, value_name = "DAYS", default_value_t = 365)]
        expiration: u64,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// Delete an account; its token is refused from now on.
    Delete {
        name: String,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// List all accounts: name, when it was made and when its token ends.
    List {
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
}

#[derive(Subcommand)]
enum Session {
    /// End a session and have its instance deleted.
    Delete {
        id: String,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// Tell what became of a session: how it stands, why its agent was chosen, what happened.
    Explain {
        id: String,
        /// Print JSON instead of lines.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// List all sessions, those that ended within the last hour included: id, status, application,
    /// agent and why it has this status.
    List {
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
}

#[derive(Subcommand)]
enum Share {
    /// Make a link that lets whoever has it join a session, and print it; its id goes to standard
    /// error.
    Create {
        session: String,
        /// As what the link joins.
        #[arg(long = "type", value_parser = ["control", "view"])]
        role: String,
        #[arg(long, default_value = "")]
        description: String,
        /// When the link ends: 24h, 30m or 7d from now, or a date of UTC, "2030-01-31 18:00:00";
        /// 30 days from now at most.
        #[arg(long, default_value = "12h", value_parser = operator::parse_expiry)]
        expiry: u64,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// End a share; whoever came through its link is cut off.
    Delete {
        id: String,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// List the shares of live sessions: id, session, type, when it ends, description.
    List {
        /// Those of one session.
        #[arg(long, value_name = "ID")]
        session_id: Option<String>,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// Change a share and print it; its link stays the same.
    Update {
        id: String,
        #[arg(long)]
        description: Option<String>,
        /// When the link ends, as for `create`; 30 days after it was made at most.
        #[arg(long, value_parser = operator::parse_expiry)]
        expiry: Option<u64>,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
}

fn main() -> ExitCode {
    program::exit(match Arguments::parse().command {
        Command::Init { dir, hosts, join } => make(dir, &hosts, join),
        Command::CheckConfig { config } => check(config),
        Command::Run { config } => run(config),
        Command::Account(command) => account(command),
        Command::Session(command) => session(command),
        Command::Share(command) => share(command),
        Command::Token(command) => command.run(Path::new(CONFIG)),
        Command::Operate(command) => command.run(Path::new(CONFIG)),
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
    program::run(|| Gateway::start(config))
}

fn account(command: Account) -> anyhow::Result<()> {
    match command {
        Account::Create { name, expiration, endpoint } => {
            let expires = operator::days_from_now(expiration);
            println!("{}", ask(client(endpoint)?.create_account(&name, Some(expires)))?);
        }
        Account::Delete { name, endpoint } => ask(client(endpoint)?.delete_account(&name))?,
        Account::List { endpoint } => {
            for account in ask(client(endpoint)?.accounts())? {
                let made = moment(account.created_at);
                let ends = account.expires_at.map_or("never".to_owned(), moment);
                println!("{}  {made}  {ends}", account.name);
            }
        }
    }
    Ok(())
}

fn session(command: Session) -> anyhow::Result<()> {
    match command {
        Session::Delete { id, endpoint } => {
            println!("{}", ask(client(endpoint)?.delete_session(&id))?);
        }
        Session::Explain { id, json, endpoint } => {
            let story = ask(client(endpoint)?.explain_session(&id))?;
            match json {
                true => println!("{}", serde_json::to_string_pretty(&story)?),
                false => print!("{}", explain::tell(&story)),
            }
        }
        Session::List { endpoint } => {
            for session in ask(client(endpoint)?.sessions())? {
                let agent = session.agent.as_ref().map_or("-", |agent| agent.as_str());
                let SessionInfo { id, status, app, message, .. } = &session;
                println!("{}", format!("{id}  {status}  {app}  {agent}  {message}").trim_end());
            }
        }
    }
    Ok(())
}

fn share(command: Share) -> anyhow::Result<()> {
    match command {
        Share::Create { session, role, description, expiry, endpoint } => {
            let client = client(endpoint)?;
            let made = client.create_share(&session, &role, &description, Some(expiry));
            let made = ask(made)?;
            eprintln!("id {}", made.id);
            println!("{}", made.url);
        }
        Share::Delete { id, endpoint } => ask(client(endpoint)?.delete_share(&id))?,
        Share::List { session_id, endpoint } => {
            ask(client(endpoint)?.shares(session_id))?.iter().for_each(print_share);
        }
        Share::Update { id, description, expiry, endpoint } => {
            print_share(&ask(client(endpoint)?.update_share(&id, description, expiry))?);
        }
    }
    Ok(())
}

fn print_share(share: &ShareInfo) {
    let ShareInfo { id, session, role, expiry_at, description, .. } = share;
    let end = moment(*expiry_at);
    println!("{}", format!("{id}  {session}  {role}  {end}  {description}").trim_end());
}

fn client(endpoint: AdminEndpoint) -> anyhow::Result<Client> {
    Ok(Client::new(endpoint.path(Path::new(CONFIG))?))
}
