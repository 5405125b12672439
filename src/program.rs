//! What both programs do alike: logging, exit codes, running until told to stop.

use std::process::ExitCode;

use crate::config::ConfigError;
use crate::init::File;

/// The configuration, or a file it names, cannot be used (`EX_CONFIG` of sysexits.h). A service
/// manager need not try again.
pub const EX_CONFIG: u8 = 78;

/// Logs to standard error, `info` and above unless `RUST_LOG` says otherwise.
pub fn start_logging() {
    let default = env_logger::Env::default().default_filter_or("info,async_nats=warn");
    env_logger::Builder::from_env(default).format_target(false).init();
}

/// Turns the result of a command into its exit code, with one sentence on standard error.
pub fn exit(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    if error.downcast_ref::<ConfigError>().is_some() {
        return ExitCode::from(EX_CONFIG);
    }
    ExitCode::FAILURE
}

/// Starts a service in an actix system of its own, waits for SIGTERM or SIGINT, and stops it.
pub fn run<S>(
    start: impl FnOnce() -> anyhow::Result<S>,
    stop: impl AsyncFnOnce(S),
) -> anyhow::Result<()> {
    actix::System::new().block_on(async {
        let service = start()?;
        let signal = asked_to_stop().await?;
        log::info!("stopping on {signal}");
        stop(service).await;
        Ok(())
    })
}

async fn asked_to_stop() -> std::io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}

/// Prints what `init` made and what it found.
pub fn print_files(files: &[File]) {
    for File { path, what, made } in files {
        let done = if *made { "made" } else { "kept" };
        println!("{done}  {}  {what}", path.display());
    }
}
