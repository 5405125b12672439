//! Measures ours beside the physical floor, in one run and in interleaved rounds.

mod first_frame;
mod report;

use anyhow::Context;

/// Runs the bench called `name`, prints its table and writes its figures. Refuses a name that
/// there is not.
pub async fn run(name: &str) -> anyhow::Result<()> {
    let report = match name {
        "first-frame" => first_frame::run().await?,
        _ => anyhow::bail!("there is no bench {name}; there is: first-frame"),
    };
    print!("{}", report.table());
    let path = report.write(name).context("the figures could not be written")?;
    println!("\n{}", path.display());
    Ok(())
}
