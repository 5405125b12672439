//! What operators do with tokens, on the command line of both programs.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use stream_admin::Client;
use stream_protocol::Empty;
use stream_tokens::{
    Created, GRAMMAR, Inspection, KeyInfo, KeyState, LEAD, Request, Revocation, attenuate,
};
use zeroize::Zeroizing;

use super::operate::{AdminEndpoint, ask};
use super::span::days_from_now;
use crate::output::say;

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token for AMS or a monitor and print it, which is the one time that it is shown; its
    /// id, by which it is revoked, goes to standard error. For the agent: the gateway's belong to
    /// accounts.
    Create {
        /// What it is for.
        #[arg(long, value_parser = ["ams", "monitor"])]
        scope: String,
        /// A name for whoever gets it.
        name: String,
        /// Days until the token ends.
        #[arg(long, value_name = "DAYS", default_value_t = 365)]
        expiration: u64,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// Read a token from standard input and print it with caveats added. Asks nobody.
    Attenuate {
        #[arg(required = true, value_name = "CAVEAT", help = GRAMMAR)]
        caveats: Vec<String>,
    },
    /// Read a token from standard input and print what it says, whether it is valid and why not.
    Inspect {
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// List the root keys, the newest last: id, state, since when it signs.
    Keys {
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// Refuse tokens from now on, on all units.
    Revoke {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// Take a revocation back.
    #[command(alias = "pardon")]
    Unrevoke {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// Make a new root key, which all units sign with a while from now; old tokens stay valid.
    Rotate {
        /// Seconds until it signs, 30 days at most. With fewer than the default, units may refuse
        /// new tokens until they have read the key.
        #[arg(long, value_name = "SECONDS", default_value_t = LEAD.as_secs())]
        lead: u64,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// Forget a root key: all tokens that it has signed are invalid from now on.
    Retire {
        kid: String,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
}

/// What is revoked: one of them.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// A token, by the id that `create` and `inspect` tell, and all that is derived from it.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// All tokens of a service account, future ones too.
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// All tokens bound to a session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
}

impl TryFrom<Which> for Revocation {
    type Error = anyhow::Error;

    fn try_from(which: Which) -> anyhow::Result<Self> {
        Ok(match which {
            Which { account: Some(name), .. } => Self::Account(name),
            Which { session: Some(id), .. } => Self::Session(id.parse()?),
            Which { id, .. } => Self::Token(id.context("what is to be revoked?")?),
        })
    }
}

impl Token {
    /// Runs the command and prints what came of it; `default_config` names the socket unless the
    /// command line does.
    ///
    /// # Errors
    ///
    /// The service does not answer or refuses.
    pub fn run(self, default_config: &Path) -> anyhow::Result<()> {
        let client =
            |endpoint: AdminEndpoint| anyhow::Ok(Client::new(endpoint.path(default_config)?));
        match self {
            Self::Create { scope, name, expiration, endpoint } => {
                let expires_at = Some(days_from_now(expiration));
                let request = Request::Create { scope, subject: name, expires_at };
                let created: Created = answer(&client(endpoint)?, &request)?;
                eprintln!("id {}", created.id);
                say!("{}", created.token);
            }
            Self::Attenuate { caveats } => {
                say!("{}", attenuate(&from_input()?, &caveats)?.as_str());
            }
            Self::Inspect { endpoint } => {
                let token = from_input()?.to_string();
                let inspection: Inspection =
                    answer(&client(endpoint)?, &Request::Inspect { token })?;
                print(&inspection);
            }
            Self::Keys { endpoint } => {
                let keys: Vec<KeyInfo> = answer(&client(endpoint)?, &Request::Keys {})?;
                keys.iter().for_each(print_key);
            }
            Self::Revoke { which, endpoint } => {
                let request = Request::Revoke { what: which.try_into()?, until: None };
                let Empty {} = answer(&client(endpoint)?, &request)?;
            }
            Self::Unrevoke { which, endpoint } => {
                let Empty {} =
                    answer(&client(endpoint)?, &Request::Unrevoke { what: which.try_into()? })?;
            }
            Self::Rotate { lead, endpoint } => {
                print_key(&answer(&client(endpoint)?, &Request::Rotate { lead_s: lead })?);
            }
            Self::Retire { kid, endpoint } => {
                let Empty {} = answer(&client(endpoint)?, &Request::Retire { kid })?;
            }
        }
        Ok(())
    }
}

fn answer<A: DeserializeOwned>(client: &Client, request: &Request) -> anyhow::Result<A> {
    Ok(ask(client.ask(request))?)
}

/// Reads a token: on the command line others could see it.
fn from_input() -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    // More than any token has.
    std::io::stdin().take(64 * 1024).read_to_string(&mut text).context("no token to read")?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

fn print(inspection: &Inspection) {
    let Inspection { location, kid, id, kind, subject, caveats, expires_at, flaw } = inspection;
    let parts = [("location", location), ("key", kid), ("id", id), ("kind", kind)];
    for (name, part) in parts.into_iter().chain([("subject", subject)]) {
        say!("{name:<9} {}", part.as_deref().unwrap_or("-"));
    }
    for caveat in caveats {
        say!("caveat    {caveat:?}");
    }
    say!("expires   {}", expires_at.map_or("never".to_owned(), |end| end.to_string()));
    say!("valid     {}", flaw.as_ref().map_or("yes".to_owned(), |flaw| format!("no: {flaw}")));
}

fn print_key(key: &KeyInfo) {
    let state = match key.state {
        KeyState::Active => "active",
        KeyState::Old => "old",
        KeyState::Pending => "pending",
    };
    let since = key.active_from.max(key.created_at);
    say!("{}  {state:<7}  {since}", key.kid);
}
