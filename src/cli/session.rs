//! What operators do with sessions, on the command line of the gateway.

use std::path::Path;

use clap::Subcommand;
use stream_gateway::admin::SessionInfo;

use super::operate::{AdminEndpoint, ask};
use super::share::NewShare;
use super::{explain, gateway_client as client};
use crate::output::say;

#[derive(Debug, Subcommand)]
pub enum Session {
    /// End a session and have its instance deleted.
    Delete {
        id: String,
        /// Delete the record also if this version cannot read it: one that is damaged, or of a
        /// newer version. The instance goes some minutes later, as one that no session is known of.
        #[arg(long)]
        unreadable: bool,
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
    /// Make a link that lets whoever has it join a session, as `share create` does.
    Share(NewShare),
}

impl Session {
    /// Runs the command and prints what came of it; `default_config` names the socket unless the
    /// command line does.
    ///
    /// # Errors
    ///
    /// The service does not answer or refuses.
    pub fn run(self, default_config: &Path) -> anyhow::Result<()> {
        match self {
            Self::Delete { id, unreadable, endpoint } => {
                let client = client(endpoint, default_config)?;
                say!("{}", ask(client.delete_session(&id, unreadable))?);
            }
            Self::Explain { id, json, endpoint } => {
                let story = ask(client(endpoint, default_config)?.explain_session(&id))?;
                match json {
                    true => say!("{}", serde_json::to_string_pretty(&story)?),
                    false => say!("{}", explain::tell(&story).trim_end()),
                }
            }
            Self::List { endpoint } => {
                for session in ask(client(endpoint, default_config)?.sessions())? {
                    let agent = session.agent.as_ref().map_or("-", |agent| agent.as_str());
                    let SessionInfo { id, status, app, message, .. } = &session;
                    say!("{}", format!("{id}  {status}  {app}  {agent}  {message}").trim_end());
                }
            }
            Self::Share(share) => share.run(default_config)?,
        }
        Ok(())
    }
}
