//! What operators do with a running service, on the command line of both programs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;
use stream_admin::{Client, ClientError, DrainStatus, Fault, InjectFault};

use super::span::parse_duration;
use crate::config::{self, ConfigError};
use crate::output::say;
use crate::reload::{RELOAD, ReloadReport};

/// Where a running service is found.
#[derive(Args, Clone, Debug)]
pub struct AdminEndpoint {
    /// The operator's socket; by default the one that the configuration names.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The configuration of the service; by default the one that `run` takes.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl AdminEndpoint {
    /// Returns the configuration of the service.
    pub fn config<'a>(&'a self, default_config: &'a Path) -> &'a Path {
        self.config.as_deref().unwrap_or(default_config)
    }

    /// Returns the path of the socket.
    ///
    /// # Errors
    ///
    /// The configuration cannot be read or names no socket.
    pub fn path(self, default_config: &Path) -> Result<PathBuf, ConfigError> {
        /// The one section that matters here: an operator need not be able to read all the rest.
        #[derive(Deserialize)]
        struct Sections {
            admin: stream_admin::Config,
        }
        if let Some(socket) = self.socket {
            return Ok(socket);
        }
        Ok(config::read::<Sections>(self.config(default_config), |_| Ok(()))?.admin.socket)
    }
}

/// What operators ask of every service.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show how the actors of the running service are.
    Status {
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// Have the running service end in order: it takes nothing new, hands over what it serves, and
    /// ends with exit code 0, when that is done or at the deadline. Returns when it has ended.
    Drain {
        /// How long that may take: seconds, or such as 90s or 5m; by default as configured.
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        deadline: Option<Duration>,
        /// Take the order back: the service goes on as before.
        #[arg(long, conflicts_with = "deadline")]
        cancel: bool,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// Have the running service read its configuration and its certificates again, as SIGHUP does,
    /// and print what holds from now on and what takes a restart. A file that cannot be used as a
    /// whole changes nothing.
    Reload {
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
    /// Make an actor fail; only where the configuration allows it for tests.
    Crash {
        actor: String,
        #[command(flatten)]
        fault: FaultArgs,
        /// How often it is to fail, 1 to 10,000.
        #[arg(long, value_name = "N", default_value_t = 1)]
        times: u32,
        /// From now on no actor pauses before a restart: what follows when it fails too often
        /// follows at once.
        #[arg(long)]
        at_once: bool,
        #[command(flatten)]
        endpoint: AdminEndpoint,
    },
}

#[derive(Args, Debug)]
#[group(multiple = false)]
pub struct FaultArgs {
    /// It panics: the default.
    #[arg(long)]
    panic: bool,
    /// It gives no answer until its deadline.
    #[arg(long)]
    hang: bool,
    /// It says itself that it cannot go on.
    #[arg(long)]
    error: bool,
    /// It blocks its thread: the service notices and ends.
    #[arg(long)]
    wedge: bool,
}

impl FaultArgs {
    fn fault(&self) -> Fault {
        match self {
            Self { hang: true, .. } => Fault::Hang,
            Self { error: true, .. } => Fault::Error,
            Self { wedge: true, .. } => Fault::Wedge,
            _ => Fault::Panic,
        }
    }
}

impl Command {
    /// Asks the service and prints what it says.
    ///
    /// # Errors
    ///
    /// The service does not answer or refuses.
    pub fn run(self, default_config: &Path) -> anyhow::Result<()> {
        match self {
            Self::Status { json, endpoint } => {
                let report = ask(Client::new(endpoint.path(default_config)?).status())?;
                say!("{}", if json { report.json() } else { report.to_string() });
            }
            Self::Drain { cancel: true, endpoint, .. } => {
                ask(Client::new(endpoint.path(default_config)?).cancel_drain())?;
                say!("the drain is cancelled");
            }
            Self::Drain { deadline, endpoint, .. } => {
                let client = Client::new(endpoint.path(default_config)?);
                ask(drain(&client, deadline))?;
            }
            Self::Reload { endpoint } => {
                let client = Client::new(endpoint.path(default_config)?);
                let report: ReloadReport = ask(client.ask(&json!({ "op": RELOAD })))?;
                say!("{}", report.to_string().trim_end());
            }
            Self::Crash { actor, fault, times, at_once, endpoint } => {
                let client = Client::new(endpoint.path(default_config)?);
                let crash = InjectFault { actor, fault: fault.fault(), times, no_backoff: at_once };
                ask(client.crash(crash))?;
            }
        }
        Ok(())
    }
}

/// How often a service that drains is asked how far it is.
const DRAIN_POLL: Duration = Duration::from_millis(500);

/// Has the service drain, and says on standard error how far it is, until it has ended or the order
/// is taken back.
async fn drain(client: &Client, deadline: Option<Duration>) -> Result<(), ClientError> {
    client.drain(deadline).await?;
    let mut told = None;
    loop {
        match client.draining().await {
            Ok(DrainStatus { left_s: None, .. }) => {
                eprintln!("the drain was cancelled");
                return Ok(());
            }
            Ok(DrainStatus { left_s: Some(left_s), left }) => {
                if told.replace(left) != Some(left) {
                    eprintln!("draining: {left} left, at most {left_s} s");
                }
            }
            // It does not answer any more: that is what was wanted.
            Err(ClientError::Unreachable { .. } | ClientError::TimedOut) => {
                eprintln!("the service has ended");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

/// Runs one request to the end, on an actix system of its own.
///
/// # Errors
///
/// Those of `request`.
pub fn ask<T>(request: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    actix::System::new().block_on(request)
}
