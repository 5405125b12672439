//! What operators do with a running service, on the command line of both programs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde::Deserialize;
use stream_admin::{Client, ClientError, DrainStatus, Fault, InjectFault};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::{self, ConfigError};

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
    /// Returns the path of the socket. Refuses a configuration that names none.
    pub fn path(self, default_config: &Path) -> Result<PathBuf, ConfigError> {
        /// The one section that matters here: an operator need not be able to read all the rest.
        #[derive(Deserialize)]
        struct Sections {
            admin: stream_admin::Config,
        }
        if let Some(socket) = self.socket {
            return Ok(socket);
        }
        let config = self.config.as_deref().unwrap_or(default_config);
        Ok(config::read::<Sections>(config, |_| Ok(()))?.admin.socket)
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
        deadline: Option<u64>,
        /// Take the order back: the service goes on as before.
        #[arg(long, conflicts_with = "deadline")]
        cancel: bool,
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
    pub fn run(self, default_config: &Path) -> anyhow::Result<()> {
        match self {
            Self::Status { json, endpoint } => {
                let report = ask(Client::new(endpoint.path(default_config)?).status())?;
                println!("{}", if json { report.json() } else { report.to_string() });
            }
            Self::Drain { cancel: true, endpoint, .. } => {
                ask(Client::new(endpoint.path(default_config)?).cancel_drain())?;
                println!("the drain is cancelled");
            }
            Self::Drain { deadline, endpoint, .. } => {
                let client = Client::new(endpoint.path(default_config)?);
                ask(drain(&client, deadline))?;
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
async fn drain(client: &Client, deadline_s: Option<u64>) -> Result<(), ClientError> {
    client.drain(deadline_s).await?;
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

/// Reads a length of time, such as `90`, `90s` or `5m`, in seconds.
fn parse_duration(text: &str) -> Result<u64, String> {
    let (count, unit) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds = count.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    seconds.ok_or_else(|| "such as 90, 90s or 5m".to_owned())
}

/// Runs one request to the end.
pub fn ask<T>(request: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    actix::System::new().block_on(request)
}

/// The moment `days` from now, in Unix seconds.
pub fn days_from_now(days: u64) -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO).as_secs();
    now.saturating_add(days.saturating_mul(24 * 3600))
}

/// Reads a time from now, `24h`, `30m` or `7d`, or a moment of UTC, `2030-01-31` or
/// `2030-01-31 18:00:00`; returns it in Unix seconds.
pub fn parse_expiry(text: &str) -> Result<u64, String> {
    from_now(text)
        .or_else(|| at(text))
        .ok_or_else(|| "such as 24h, 30m, 7d, 2030-01-31 or \"2030-01-31 18:00:00\"".to_owned())
}

fn from_now(text: &str) -> Option<u64> {
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds: u64 = match unit {
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO).as_secs();
    Some(now.saturating_add(count.parse::<u64>().ok()?.saturating_mul(seconds)))
}

fn at(text: &str) -> Option<u64> {
    let (date, clock) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let moment = OffsetDateTime::parse(&format!("{date}T{clock}Z"), &Rfc3339).ok()?;
    u64::try_from(moment.unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_seconds_or_minutes() {
        assert_eq!(
            (parse_duration("90"), parse_duration("90s"), parse_duration("5m")),
            (Ok(90), Ok(90), Ok(300))
        );
        for text in ["", "s", "m", "-1", "1h", "1.5", "18446744073709551615m"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_moment_is_a_time_from_now_or_a_date() {
        let left = |text| parse_expiry(text).expect("a time") - parse_expiry("0m").expect("now");
        assert!((1800..1802).contains(&left("30m")) && (86_400..86_402).contains(&left("24h")));
        assert!((604_800..604_802).contains(&left("7d")));
        assert_eq!(parse_expiry("2030-01-31"), Ok(1_896_048_000));
        assert_eq!(parse_expiry("2030-01-31 18:00:01"), Ok(1_896_112_801));
        for text in ["", "h", "24", "24s", "-1h", "1é", "1 h", "2030-02-30", "2030-01-31 18:00"] {
            assert!(parse_expiry(text).is_err(), "{text}");
        }
    }
}
