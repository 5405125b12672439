//! What operators do with service accounts, on the command line of the gateway.

use std::path::Path;

use clap::Subcommand;
use stream_gateway::admin::AccountLimits;

use super::gateway_client as client;
use super::operate::{AdminEndpoint, ask};
use super::span::days_from_now;

#[derive(Debug, Subcommand)]
pub enum Account {
    /// Make an account and print its token, which is shown this once.
    Create {
        name: String,
        /// Days until the token ends.
        #[arg(long, value_name = "DAYS", default_value_t = 365)]
        expiration: u64,
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
    /// List all accounts: name, when it was made, when its token ends, and what limits it.
    List {
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
            Self::Create { name, expiration, own_sessions, max_sessions, endpoint } => {
                let expires = days_from_now(expiration);
                let limits = AccountLimits { own_sessions, max_sessions };
                let client = client(endpoint, default_config)?;
                println!("{}", ask(client.create_account(&name, Some(expires), limits))?);
            }
            Self::Delete { name, sessions, endpoint } => {
                ask(client(endpoint, default_config)?.delete_account(&name, sessions))?
            }
            Self::List { endpoint } => {
                for account in ask(client(endpoint, default_config)?.accounts())? {
                    let made = account.created_at;
                    let ends = account.expires_at.map_or("never".to_owned(), |at| at.to_string());
                    let own = if account.limits.own_sessions { "  own sessions" } else { "" };
                    let max = account.limits.max_sessions;
                    let max = max.map_or(String::new(), |max| format!("  at most {max} sessions"));
                    println!("{}  {made}  {ends}{own}{max}", account.name);
                }
            }
        }
        Ok(())
    }
}
