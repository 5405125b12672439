//! What operators do with the links to sessions, on the command line of the gateway.

use std::path::Path;

use clap::{Args, Subcommand};
use stream_gateway::admin::ShareInfo;
use stream_protocol::Timestamp;

use super::gateway_client as client;
use super::operate::{AdminEndpoint, ask};
use super::span::parse_expiry;
use crate::output::say;

/// What whoever makes a link for ADB is told beside it.
const ADB_NOTE: &str = "whoever has the link has a shell on the device; for adb itself there is \
    stream-dev adb URL --listen 127.0.0.1:PORT";

/// What whoever makes a link to view is told beside it.
const VIEW_NOTE: &str = "whoever has the link watches while nobody controls the session, if its \
    instance honours roles";

#[derive(Debug, Subcommand)]
pub enum Share {
    /// Make a link that lets whoever has it join a session, or use the ADB of its instance, and
    /// print it; its id goes to standard error.
    Create(NewShare),
    /// End a share; whoever came through its link is cut off.
    Delete {
        id: String,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// List the shares of live sessions: id, session, type, when it ends, description.
    List {
        /// Only the shares of one session.
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
        #[arg(long, value_parser = parse_expiry)]
        expiry: Option<Timestamp>,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
}

/// A link to be made.
#[derive(Args, Debug)]
pub struct NewShare {
    session: String,
    /// As what the link joins. `view` needs an instance that honours roles and says so in its first
    /// report; whoever views enters while nobody controls the session. `adb` opens a shell instead,
    /// beside whoever is the client, if the instance serves ADB and says so.
    #[arg(long = "type", default_value = "control", value_parser = ["adb", "control", "view"])]
    role: String,
    #[arg(long, default_value = "")]
    description: String,
    /// When the link ends: 24h, 30m or 7d from now, or a date of UTC, "2030-01-31 18:00:00"; 30
    /// days from now at most. Without it, after 12 hours unless the gateways are told otherwise.
    #[arg(long, visible_alias = "expiration", value_name = "TIME", value_parser = parse_expiry)]
    expiry: Option<Timestamp>,
    #[command(flatten)]
    endpoint: AdminEndpoint,
}

impl NewShare {
    /// Makes the link and prints it; `default_config` names the socket unless the command line
    /// does.
    ///
    /// # Errors
    ///
    /// The service does not answer or refuses.
    pub fn run(self, default_config: &Path) -> anyhow::Result<()> {
        let Self { session, role, description, expiry, endpoint } = self;
        let client = client(endpoint, default_config)?;
        let made = ask(client.create_share(&session, &role, &description, expiry))?;
        eprintln!("id {}", made.id);
        match role.as_str() {
            "adb" => eprintln!("{ADB_NOTE}"),
            "view" => eprintln!("{VIEW_NOTE}"),
            _ => {}
        }
        say!("{}", made.url);
        Ok(())
    }
}

impl Share {
    /// Runs the command and prints what came of it; `default_config` names the socket unless the
    /// command line does.
    ///
    /// # Errors
    ///
    /// The service does not answer or refuses.
    pub fn run(self, default_config: &Path) -> anyhow::Result<()> {
        match self {
            Self::Create(share) => share.run(default_config)?,
            Self::Delete { id, endpoint } => {
                ask(client(endpoint, default_config)?.delete_share(&id))?
            }
            Self::List { session_id, endpoint } => {
                ask(client(endpoint, default_config)?.shares(session_id))?
                    .iter()
                    .for_each(print_share);
            }
            Self::Update { id, description, expiry, endpoint } => {
                print_share(&ask(client(endpoint, default_config)?.update_share(
                    &id,
                    description,
                    expiry,
                ))?);
            }
        }
        Ok(())
    }
}

fn print_share(share: &ShareInfo) {
    let ShareInfo { id, session, role, expiry_at, description, .. } = share;
    say!("{}", format!("{id}  {session}  {role}  {expiry_at}  {description}").trim_end());
}
