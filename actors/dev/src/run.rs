//! `stream-dev up`: the stack until Ctrl-C, or for one session.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::processes::Services;
use crate::smoke;
use crate::workdir::Workdir;

/// How to run the stack.
pub struct Options {
    /// Drive one session and end.
    pub smoke: bool,
    /// Keep keys and logs in this directory.
    pub state: Option<PathBuf>,
    /// How long an instance takes to boot.
    pub boot: Duration,
}

/// Runs the stack until SIGINT or SIGTERM, or until the smoke session is over. Fails when a part
/// cannot be started or ends by itself, and when the session does not come to its end.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let workdir = Workdir::new(options.state.as_deref())?;
    let work = async {
        let mut services = Services::start(workdir.dir(), &workdir.keys, options.boot).await?;
        if options.smoke {
            let session = smoke::run(services.nodes.clone(), services.client()?, started);
            return services.while_alive(session).await;
        }
        print_parts(&mut services)?;
        services.while_alive(std::future::pending()).await
    };
    let shutdown_signal = || match options.smoke {
        true => Err(anyhow::anyhow!("interrupted")),
        false => Ok(()),
    };
    let ended = tokio::select! {
        ended = work => ended,
        _ = interrupt.recv() => shutdown_signal(),
        _ = terminate.recv() => shutdown_signal(),
    };
    workdir.end(ended)
}

fn print_parts(services: &mut Services) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out)?;
    for part in services.parts() {
        let (name, address, log) = (part.name, part.address, part.log.display());
        writeln!(out, "{name:<15} {address:<42} pid {:<8} {log}", part.pid)?;
    }
    writeln!(
        out,
        "\nOpen in a browser, which will warn of the certificate: nobody vouches for it. \
         Its SHA-256 is\n  {}\n\n  {}\n\nCtrl-C stops everything.",
        services.nodes.gateway_pin()?,
        services.link()
    )?;
    Ok(out.flush()?)
}
