//! What operators do with service accounts, on the command line of the gateway.

use std::path::Path;
use std::time::Duration;

use clap::Subcommand;
use stream_gateway::admin::AccountLimits;
use stream_protocol::Timestamp;

use super::gateway_client as client;
use super::operate::{AdminEndpoint, ask};
use super::span::{days_from_now, parse_expiration, parse_span};
use crate::output::say;

/// How long the token of an account lasts unless something else is said, in days.
const ACCOUNT_DAYS: u64 = 365;

/// How long the token of an account lasts that looks after the deployment, in days.
const OPERATOR_DAYS: u64 = 30;

#[derive(Debug, Subcommand)]
pub enum Account {
    /// Make an account and print its token, which is shown this once.
    Create {
        name: String,
        /// When the token ends: 24h, 30m or 7d from now, a bare number of days, or a date of UTC,
        /// "2030-01-31 18:00:00". Without it, after 365 days, that of an operator after 30.
        #[arg(long, value_name = "TIME", value_parser = parse_expiration)]
        expiration: Option<Timestamp>,
        /// Let the account look after the deployment, too: what holds for all gateways it may read
        /// and change.
        #[arg(long)]
        operator: bool,
        /// Show the account no sessions and shares but its own; without it, it sees all.
        #[arg(long)]
        own_sessions: bool,
        /// Sessions that the account may have at a time; any number without it. Gateways that are
        /// asked in the same moment may let one through each.
        #[arg(long, value_name = "N")]
        max_sessions: Option<u32>,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// Delete an account: its token is refused from now on, and its shares end.
    Delete {
        name: String,
        /// End the sessions that it made, too.
        #[arg(long)]
        sessions: bool,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// Give an account another token and print it, which is shown this once; it ends when the one
    /// before would have. That one is refused from now on. Shares and sessions stay.
    Rotate {
        name: String,
        /// How long the token before stays good: 30m, 1h or 7d; 30 days at most.
        #[arg(long, value_name = "TIME", value_parser = parse_span)]
        overlap: Option<Duration>,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// List all accounts: name, when it was made, when its token ends, when it was used last (to
    /// the hour), and what limits it.
    List {
        /// All of it as JSON; times in Unix seconds.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
}

impl Account {
    /// Runs the command and prints what came of it; `default_config` names the socket unless the
    /// command line does.
    ///
    /// # Errors
    ///
    /// The service does not answer or refuses.
    pub fn run(self, default_config: &Path) -> anyhow::Result<()> {
        match self {
            Self::Create { name, expiration, operator, own_sessions, max_sessions, endpoint } => {
                let limits = AccountLimits { own_sessions, max_sessions };
                let client = client(endpoint, default_config)?;
                let life = if operator { OPERATOR_DAYS } else { ACCOUNT_DAYS };
                let expires = Some(expiration.unwrap_or_else(|| days_from_now(life)));
                let token = match operator {
                    true => ask(client.create_operator(&name, expires, limits))?,
                    false => ask(client.create_account(&name, expires, limits))?,
                };
                say!("{token}");
            }
            Self::Delete { name, sessions, endpoint } => {
                ask(client(endpoint, default_config)?.delete_account(&name, sessions))?;
                say!("Account {name} deleted successfully");
            }
            Self::Rotate { name, overlap, endpoint } => {
                let client = client(endpoint, default_config)?;
                let rotated = client.rotate_account(&name, overlap.unwrap_or_default());
                say!("{}", ask(rotated)?);
            }
            Self::List { json, endpoint } => {
                let accounts = ask(client(endpoint, default_config)?.accounts())?;
                if json {
                    say!("{}", serde_json::to_string_pretty(&accounts)?);
                    return Ok(());
                }
                for account in accounts {
                    let made = account.created_at;
                    let moment =
                        |at: Option<Timestamp>| at.map_or("never".to_owned(), |at| at.to_string());
                    let (ends, used) = (moment(account.expires_at), moment(account.last_used_at));
                    let both = account.replaced_until;
                    let both = both.map_or(String::new(), |at| format!("  two tokens until {at}"));
                    let operator = if account.operator { "  operator" } else { "" };
                    let own = if account.limits.own_sessions { "  own sessions" } else { "" };
                    let max = account.limits.max_sessions;
                    let max = max.map_or(String::new(), |max| format!("  at most {max} sessions"));
                    let name = account.name;
                    say!("{name}  {made}  {ends}  {used}{operator}{own}{max}{both}");
                }
            }
        }
        Ok(())
    }
}
