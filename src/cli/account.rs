//! What operators do with service accounts, on the command line of the gateway.

use std::path::Path;

use clap::Subcommand;

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

impl Account {
    /// Runs the command and prints what came of it; `default_config` names the socket unless the
    /// command line does.
    ///
    /// # Errors
    ///
    /// The service does not answer or refuses.
    pub fn run(self, default_config: &Path) -> anyhow::Result<()> {
        match self {
            Self::Create { name, expiration, endpoint } => {
                let expires = days_from_now(expiration);
                let client = client(endpoint, default_config)?;
                println!("{}", ask(client.create_account(&name, Some(expires)))?);
            }
            Self::Delete { name, endpoint } => {
                ask(client(endpoint, default_config)?.delete_account(&name))?
            }
            Self::List { endpoint } => {
                for account in ask(client(endpoint, default_config)?.accounts())? {
                    let made = account.created_at;
                    let ends = account.expires_at.map_or("never".to_owned(), |at| at.to_string());
                    println!("{}  {made}  {ends}", account.name);
                }
            }
        }
        Ok(())
    }
}
