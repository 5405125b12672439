//! Measures ours beside the peer or the physical floor, in one run and in interleaved rounds.

mod first_frame;
mod report;
mod sessions;
mod signaling;
mod supervision;
mod tokens;
mod turn;

use anyhow::Context;

/// Runs the bench called `name`, prints its table and writes its figures. Refuses a name that
/// there is not.
pub async fn run(name: &str) -> anyhow::Result<()> {
    let report = match name {
        "first-frame" => first_frame::run().await?,
        "sessions" => sessions::run().await?,
        "signaling" => signaling::run().await?,
        "tokens" => tokens::run()?,
        "turn" => turn::run().await?,
        "supervision" => supervision::run().await?,
        _ => anyhow::bail!(
            "there is no bench {name}; there are: first-frame, sessions, signaling, supervision, tokens, turn"
        ),
    };
    print!("{}", report.table());
    let path = report.write(name).context("the figures could not be written")?;
    println!("\n{}", path.display());
    Ok(())
}
