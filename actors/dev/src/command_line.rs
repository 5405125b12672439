//! The command line of stream-dev.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use stream_agent::logging::{LogConfig, start_logging};
use stream_agent::notify::ServiceManager;
use stream_agent::program;

use crate::{adb, ams, load, manuals, process, run};

/// Runs the streaming stack on this machine: nats-server, coturn when it is installed, a simulated
/// AMS with simulated instances that send real video, the agent and the gateway.
///
/// What the parts log is chosen as for the services, with RUST_LOG.
#[derive(Parser)]
#[command(name = "stream-dev", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything, print a link to open in a browser, and run until Ctrl-C.
    #[command(after_long_help = run::HELP)]
    Up(Box<run::Options>),
    /// Measure side by side, print a table of medians and write target/bench/NAME.json.
    Bench {
        /// What to measure: one of the names in `scripts/bench --help`.
        name: String,
    },
    /// Serve the ADB of an instance to `adb` on this machine, by the URL of a share of type adb.
    #[command(after_long_help = adb::HELP)]
    Adb(Box<adb::Options>),
    /// Have many clients at once use a gateway, and report what it carries and what fails.
    #[command(after_long_help = load::HELP)]
    Load(Box<load::Options>),
    /// Run the AMS simulator alone, until Ctrl-C; `up` starts it in this way.
    #[command(name = "ams", after_long_help = ams::HELP)]
    AmsSimulator(Box<ams::Options>),
    /// Write the man pages of all programs and what shells complete, as the packages have them:
    /// below share/ of the directory.
    Manuals {
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

/// Carries out what the command line says.
pub fn main() -> ExitCode {
    program::exit(match Arguments::parse().command {
        Command::Up(options) => {
            crate::log_warnings();
            actix::System::new().block_on(run::run(*options))
        }
        Command::Adb(options) => {
            crate::log_warnings();
            actix::System::new().block_on(adb::run(*options))
        }
        Command::Load(options) => {
            crate::log_warnings();
            actix::System::new().block_on(load::run(*options))
        }
        Command::Bench { name } => bench(&name),
        Command::Manuals { dir } => manuals::write(&dir, command()),
        Command::AmsSimulator(options) => {
            start_logging(&LogConfig::default());
            program::run(&ServiceManager::default(), || options.start().map(ams::Running::from))
        }
    })
}

/// The command line, for whoever describes it.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Becomes `stream-bench`, which lies beside this program.
fn bench(name: &str) -> anyhow::Result<()> {
    let error = std::process::Command::new(process::beside_us("stream-bench")?).arg(name).exec();
    Err(error.into())
}
