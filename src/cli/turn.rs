//! What operators do with relays, on the command line of the agent.

use std::path::Path;

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use stream_admin::{Client, table};
use stream_protocol::{Empty, IceServer, SessionId};
use stream_turn::{ProbeRow, Request, Rotated};

use super::operate::{AdminEndpoint, ask};
use crate::output::say;

#[derive(Debug, Subcommand)]
pub enum Turn {
    /// Print the ICE servers that a client of a session would get now, with credentials, to try the
    /// relays by hand.
    Credentials {
        #[arg(long, value_name = "ID")]
        session: SessionId,
        /// The region of the session: its relays come first.
        #[arg(long, value_name = "NAME", default_value = "")]
        region: String,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// Probe every relay and print a table: how long a binding and an allocation take over UDP or
    /// TCP, and over TLS, and whether the relay is handed out.
    Probe {
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// Take a relay out of all new lists, on all agents. Streams that run over it go on.
    Drain {
        #[command(flatten)]
        relay: Relay,
    },
    /// Put a drained relay back.
    Undrain {
        #[command(flatten)]
        relay: Relay,
    },
    /// Change the secret that the relays of a pool share with the agents. As long as a relay does
    /// not accept the new one, nothing changes: it is printed, to be put on the relays beside the
    /// old one, and the next `rotate` tries again.
    Rotate {
        #[command(flatten)]
        pool: Pool,
    },
    /// Forget the old secret, once it has been removed from all relays.
    Retire {
        #[command(flatten)]
        pool: Pool,
    },
}

#[derive(Args, Debug)]
pub struct Relay {
    /// The first of its URLs in the configuration.
    server: String,
    #[command(flatten)]
    endpoint: AdminEndpoint,
}

#[derive(Args, Debug)]
pub struct Pool {
    /// Its name; relays that are in no other are in this one.
    #[arg(default_value = "default")]
    pool: String,
    #[command(flatten)]
    endpoint: AdminEndpoint,
}

impl Turn {
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
            Self::Credentials { session, region, endpoint } => {
                let servers =
                    answer(&client(endpoint)?, &Request::Credentials { session, region })?;
                print_servers(servers);
            }
            Self::Probe { endpoint } => {
                let rows: Vec<ProbeRow> = answer(&client(endpoint)?, &Request::Probe {})?;
                print_table(&rows);
            }
            Self::Drain { relay: Relay { server, endpoint } } => {
                let Empty {} =
                    answer(&client(endpoint)?, &Request::Drain { server, drained: true })?;
            }
            Self::Undrain { relay: Relay { server, endpoint } } => {
                let Empty {} =
                    answer(&client(endpoint)?, &Request::Drain { server, drained: false })?;
            }
            Self::Rotate { pool: Pool { pool, endpoint } } => {
                return rotated(answer(&client(endpoint)?, &Request::Rotate { pool })?);
            }
            Self::Retire { pool: Pool { pool, endpoint } } => {
                let accepting: Vec<String> = answer(&client(endpoint)?, &Request::Retire { pool })?;
                let relays = accepting.join(", ");
                anyhow::ensure!(accepting.is_empty(), "the old secret is still on {relays}");
                eprintln!("the old secret is forgotten");
            }
        }
        Ok(())
    }
}

fn answer<A: DeserializeOwned>(client: &Client, request: &Request) -> anyhow::Result<A> {
    Ok(ask(client.ask(request))?)
}

fn print_servers(servers: Vec<IceServer>) {
    for IceServer { urls, username, password } in servers {
        say!("{}", urls.join(" "));
        for (name, value) in [("username", username), ("password", password)] {
            if let Some(value) = value {
                say!("  {name} {value}");
            }
        }
    }
}

fn print_table(rows: &[ProbeRow]) {
    let time = |time: &Result<u64, String>| match time {
        Ok(micros) => format!("{}.{:03} ms", micros / 1000, micros % 1000),
        Err(why) => why.clone(),
    };
    let heads = ["POOL", "SERVER", "VERDICT", "OVER", "BINDING", "ALLOCATE"];
    let cells = rows.iter().map(|row| {
        let ProbeRow { pool, server, transport, binding, allocate, state } = row;
        let [binding, allocate] = [binding, allocate].map(time);
        [pool.clone(), server.clone(), state.clone(), transport.clone(), binding, allocate]
    });
    say!("{}", table(heads, cells));
}

/// Prints the secret on standard output, and on standard error what is to be done.
fn rotated(rotated: Rotated) -> anyhow::Result<()> {
    match rotated {
        Rotated::Switched { old_until } => {
            eprintln!("the new secret is in use; the old one may be removed from {old_until} on");
            Ok(())
        }
        Rotated::Waiting { secret, refusals } => {
            say!("{secret}");
            for (server, why) in &refusals {
                eprintln!("{server} does not accept it: {why}");
            }
            anyhow::bail!("nothing has changed: put this secret on the relays beside the old one")
        }
    }
}
