//! What both programs do alike: logging, exit codes, running until told to stop.

use std::process::ExitCode;

use log::LevelFilter;

use crate::config::ConfigError;
use crate::init::File;

/// The configuration, or a file it names, cannot be used (`EX_CONFIG` of sysexits.h). A service
/// manager need not try again.
pub const EX_CONFIG: u8 = 78;

/// The service cannot go on and another process may. The supervisor uses the same code when it has
/// to end the process itself.
const EX_SOFTWARE: u8 = stream_supervisor::EX_SOFTWARE as u8;

/// The supervisor can do no more: all that helps is another process.
#[derive(Debug, thiserror::Error)]
#[error("the supervisor gave up: {0}")]
struct GaveUp(String);

/// The finest level that is ever logged: below it, the client of NATS tells all that passes, the
/// credentials of clients included.
pub const FINEST: LevelFilter = LevelFilter::Debug;

/// Logs to standard error, `info` and above unless `RUST_LOG` says otherwise, which it can down to
/// [`FINEST`].
pub fn start_logging() {
    let default = env_logger::Env::default().default_filter_or("info,async_nats=warn");
    env_logger::Builder::from_env(default).format_target(false).init();
    log::set_max_level(log::max_level().min(FINEST));
}

/// Turns the result of a command into its exit code, with one sentence on standard error.
pub fn exit(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    ExitCode::from(code(&error))
}

fn code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<ConfigError>().is_some() {
        EX_CONFIG
    } else if error.downcast_ref::<GaveUp>().is_some() {
        EX_SOFTWARE
    } else {
        1
    }
}

/// Starts a service in an actix system of its own, waits for SIGTERM or SIGINT, and stops it. So it
/// does when `fatal` ends, which says why the service cannot go on; that is an error then.
pub fn run<S, F: Future<Output = String>>(
    start: impl FnOnce() -> anyhow::Result<S>,
    fatal: impl FnOnce(&S) -> F,
    stop: impl AsyncFnOnce(S),
) -> anyhow::Result<()> {
    actix::System::new().block_on(async {
        let service = start()?;
        let given_up = tokio::select! {
            signal = asked_to_stop() => {
                log::info!("stopping on {}", signal?);
                None
            }
            cause = fatal(&service) => {
                log::error!("stopping: {cause}");
                Some(GaveUp(cause))
            }
        };
        stop(service).await;
        given_up.map_or(Ok(()), |gave_up| Err(gave_up.into()))
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_service_whose_supervisor_gives_up_is_stopped_and_ends_with_70() {
        let stopped = Cell::new(false);
        let fatal = |_: &()| async { "turn failed too often".to_owned() };
        let error = run(|| Ok(()), fatal, async |()| stopped.set(true)).expect_err("given up");
        assert!(stopped.get());
        assert_eq!(code(&error), 70);
        assert_eq!(error.to_string(), "the supervisor gave up: turn failed too often");
    }

    #[test]
    fn a_service_that_does_not_start_ends_with_1() {
        let fatal = |_: &()| std::future::pending();
        let start = || anyhow::bail!("the port is taken");
        let error = run(start, fatal, async |()| ()).expect_err("not started");
        assert_eq!(code(&error), 1);
    }
}
