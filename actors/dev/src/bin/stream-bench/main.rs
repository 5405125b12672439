//! Measures ours beside the peer or the physical floor, in one run and in interleaved rounds.

mod first_frame;
mod report;
mod scale;
mod sessions;
mod signaling;
mod supervision;
mod tokens;
mod turn;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use stream_agent::program;

/// Measures side by side, prints a table of medians and writes target/bench/NAME.json.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// What to measure: one of the names in `scripts/bench --help`.
    name: String,
}

fn main() -> ExitCode {
    let Arguments { name } = Arguments::parse();
    stream_dev::log_warnings();
    program::exit(actix::System::new().block_on(run(&name)))
}

/// Runs the bench called `name`, prints its table and writes its figures. Refuses a name that
/// there is not.
async fn run(name: &str) -> anyhow::Result<()> {
    let report = match name {
        "first-frame" => first_frame::run().await?,
        "scale" => scale::run().await?,
        "sessions" => sessions::run().await?,
        "signaling" => signaling::run().await?,
        "tokens" => tokens::run()?,
        "turn" => turn::run().await?,
        "supervision" => supervision::run().await?,
        _ => anyhow::bail!(
            "there is no bench {name}; there are: first-frame, scale, sessions, signaling, \
             supervision, tokens, turn"
        ),
    };
    print!("{}", report.table());
    let path = report.write(name).context("the figures could not be written")?;
    println!("\n{}", path.display());
    Ok(())
}
