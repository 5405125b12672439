//! The whole stack on one machine: arguments, run, exit code.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stream_agent::program;
use stream_dev::{adb, ams, process, run};

/// Runs the streaming stack on this machine: nats-server, coturn when it is installed, a simulated
/// AMS with simulated instances that send real video, the agent and the gateway.
///
/// What the parts log is chosen as for the services, with RUST_LOG.
#[derive(Parser)]
#[command(version)]
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
    /// Run the AMS simulator alone, until Ctrl-C; `up` starts it in this way.
    #[command(name = "ams", after_long_help = ams::HELP)]
    AmsSimulator(Box<ams::Options>),
}

fn main() -> ExitCode {
    program::exit(match Arguments::parse().command {
        Command::Up(options) => {
            stream_dev::log_warnings();
            actix::System::new().block_on(run::run(*options))
        }
        Command::Adb(options) => {
            stream_dev::log_warnings();
            actix::System::new().block_on(adb::run(*options))
        }
        Command::Bench { name } => bench(&name),
        Command::AmsSimulator(options) => {
            program::start_logging();
            program::run(|| options.start().map(ams::Running::from))
        }
    })
}

/// Becomes `stream-bench`, which lies beside this program.
fn bench(name: &str) -> anyhow::Result<()> {
    let error = std::process::Command::new(process::beside_us("stream-bench")?).arg(name).exec();
    Err(error.into())
}
