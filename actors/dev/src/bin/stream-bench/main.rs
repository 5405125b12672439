//! Measures ours beside the peer or the physical floor, in one run and in interleaved rounds.

mod churn;
mod console;
mod first_frame;
mod gateway;
mod idle_sockets;
mod nginx;
mod process_usage;
mod report;
mod scale;
mod sessions;
mod signaling;
mod sources;
mod start;
mod stored;
mod storm;
mod supervision;
mod tls;
mod tls_client;
mod tokens;
mod turn;
mod unit;

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
    /// Of `churn` how many sessions, 20000 if nothing is said; and of a server that a bench starts
    /// as a process of its own.
    arguments: Vec<String>,
}

fn main() -> ExitCode {
    let Arguments { name, arguments } = Arguments::parse();
    stream_dev::log_warnings();
    let work = async {
        match name.as_str() {
            "bare-server" => gateway::serve(&arguments).await,
            "tls-server" => tls::serve(&arguments).await,
            _ => run(&name, &arguments).await,
        }
    };
    program::exit(actix::System::new().block_on(work))
}

/// Runs the bench called `name`, prints its table and writes its figures. Refuses a name that
/// there is not.
async fn run(name: &str, arguments: &[String]) -> anyhow::Result<()> {
    let report = match name {
        "churn" => churn::run(arguments).await?,
        "console" => console::run().await?,
        "first-frame" => first_frame::run().await?,
        "gateway" => gateway::run().await?,
        "scale" => scale::run().await?,
        "sessions" => sessions::run().await?,
        "signaling" => signaling::run().await?,
        "start" => start::run().await?,
        "storm" => storm::run().await?,
        "tls" => tls::run().await?,
        "tokens" => tokens::run()?,
        "turn" => turn::run().await?,
        "supervision" => supervision::run().await?,
        _ => anyhow::bail!(
            "there is no bench {name}; there are: churn, console, first-frame, gateway, \
             scale, sessions, signaling, start, storm, supervision, tls, tokens, turn"
        ),
    };
    print!("{}", report.table());
    let path = report.write(name).context("the figures could not be written")?;
    println!("\n{}", path.display());
    Ok(())
}
