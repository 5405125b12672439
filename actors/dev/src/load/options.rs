//! What `stream-dev load` is told.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde::Serialize;
use stream_pki::Fingerprint;
use stream_protocol::Screen;
use stream_simulators::client::ClientConfig;

/// What `--help` tells besides the options.
pub const HELP: &str = "\
With a stack of `stream-dev up --env stack.env` its variables name the gateway, the token and the \
certificate:

  set -a; . ./stack.env; set +a
  stream-dev load --sessions 200 --rate 10

Each session is created, its signaling socket is opened, the instance is asked `discover` once a \
second, and in the end the session is deleted. With --media the client is one that gets video.

What one token and one address may ask is limited: raise `requests_per_second` in gateway.toml, and \
`requests_per_address` in its section [http], beyond four times the rate, or the limits are what is \
measured. Refusals are counted by their cause.

--find-rate begins at --rate and looks for the largest rate at which 99 of 100 creations and signals \
take no longer than --bound: it doubles the rate until they do, and halves the step then.

Files are written to the directory of --out: load.json with every figure, and report.html, which \
needs nothing else. Exit code 0 if nothing failed and nothing was left behind, 1 otherwise.";

/// The options of `stream-dev load`.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Options {
    /// The gateway: https://HOST:PORT.
    #[arg(long, value_name = "URL", env = "ASG_API_URL")]
    pub(super) gateway: String,
    /// The token of an account. Better in the variable than among the arguments, which all users of
    /// the machine see.
    #[arg(long, value_name = "TOKEN", env = "ASG_API_TOKEN", hide_env_values = true)]
    #[serde(skip)]
    pub(super) token: String,
    /// The certificate of the gateway, SHA-256 of the DER; may be repeated.
    #[arg(long, value_name = "SHA-256", env = "STREAM_GATEWAY_SHA256", required = true)]
    #[serde(skip)]
    pub(super) fingerprint: Vec<Fingerprint>,
    /// The application to start; without it, the first that the gateway has.
    #[arg(long, value_name = "NAME")]
    pub(super) application: Option<String>,
    /// How many sessions.
    #[arg(long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) sessions: u32,
    /// How many of them begin in a second.
    #[arg(long, value_name = "N", default_value_t = 5.0, value_parser = rate)]
    pub(super) rate: f64,
    /// How long each lasts from its first signal on.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(super) length: u32,
    /// Cut each signaling socket off after every so many signals, and go on from its cursor.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "media")]
    pub(super) resume_every: u32,
    /// So many of 100 clients stop reading once they have had their first signal.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, conflicts_with = "media",
        value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(super) frozen: u32,
    /// Clients get video, and sessions last as long from their first picture on. Decoding costs
    /// this machine some 5 % of a core for each.
    #[arg(long)]
    pub(super) media: bool,
    /// Look for the largest rate whose 99th percentile stays within --bound; each is tried with
    /// --sessions sessions.
    #[arg(long)]
    pub(super) find_rate: bool,
    /// What 99 of 100 creations and signals may take.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 200)]
    pub(super) bound: u32,
    /// How long to wait at the end until the gateway holds no more than at the beginning.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(super) quiet: u32,
    /// Where the report goes; the directory is made.
    #[arg(long, value_name = "DIR", default_value = "stream-load")]
    pub(super) out: PathBuf,
}

fn rate(text: &str) -> anyhow::Result<f64> {
    let rate: f64 = text.parse().context("a number a second")?;
    ensure!(rate > 0.0 && rate <= 10_000.0, "more than 0, 10000 at most");
    Ok(rate)
}

impl Options {
    pub(super) fn client(&self) -> ClientConfig {
        ClientConfig {
            gateway: self.gateway.clone(),
            token: self.token.clone(),
            pins: self.fingerprint.clone(),
            screen: Screen::default(),
        }
    }

    pub(super) fn length(&self) -> Duration {
        Duration::from_secs(self.length.into())
    }

    /// Whether client number `nth` of those in one run stops reading: evenly among the others.
    pub(super) fn freezes(&self, nth: u32) -> bool {
        let of = |n: u64| n * u64::from(self.frozen) / 100;
        of(u64::from(nth) + 1) > of(nth.into())
    }

    /// The command that does the same once more, but for the token.
    pub(super) fn command(&self) -> String {
        let Self { gateway, sessions, rate, length, bound, quiet, .. } = self;
        let mut command = format!(
            "stream-dev load --gateway {gateway} --sessions {sessions} --rate {rate} \
             --length {length} --bound {bound} --quiet {quiet}"
        );
        let mut add = |name: &str, value: &str| {
            command.extend([" --", name, if value.is_empty() { "" } else { " " }, value]);
        };
        if let Some(application) = &self.application {
            add("application", application);
        }
        for (name, value) in [("resume-every", self.resume_every), ("frozen", self.frozen)] {
            if value > 0 {
                add(name, &value.to_string());
            }
        }
        for (name, given) in [("media", self.media), ("find-rate", self.find_rate)] {
            if given {
                add(name, "");
            }
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn options(more: &[&str]) -> Options {
        let pin = "0".repeat(64);
        let given = ["load", "--gateway", "https://h", "--token", "s3cret", "--fingerprint", &pin];
        Command::parse_from(given.iter().chain(more)).options
    }

    #[test]
    fn as_many_clients_freeze_as_were_asked_for() {
        for (percent, wanted) in [("0", 0), ("30", 60), ("100", 200)] {
            let options = options(&["--frozen", percent]);
            assert_eq!((0..200).filter(|nth| options.freezes(*nth)).count(), wanted);
        }
    }

    #[test]
    fn the_command_does_the_same_again_and_has_no_token() {
        let given = ["--sessions", "7", "--rate", "2.5", "--frozen", "10", "--find-rate"];
        let command = options(&given).command();
        let (_, arguments) = command.split_once(" load ").expect("load");
        let again = options(&arguments.split(' ').skip(2).collect::<Vec<_>>());
        assert_eq!(again.command(), command);
        assert!(command.contains("--frozen 10 --find-rate") && !command.contains("s3cret"));
    }
}
