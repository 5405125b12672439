//! What the gateway costs beside a bare actix-web server with its TLS: the memory of an idle
//! signaling socket, and the processor time of a request.
//!
//! Either server is a process on a core of its own. What one address may ask a second is raised
//! for the requests, which all come with one token; all other limits are the defaults.

mod bare;
mod requests;

use std::fmt::Display;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use stream_dev::keys::Pair;
use stream_dev::ports;
use stream_dev::process::Process;
use tokio::time::sleep;
use toml::toml;

pub(super) use self::bare::serve;
use self::requests::{Answer, Requests};
use super::idle_sockets::{Counts, Owner, open_all};
use super::process_usage::{leave_server_core, raise_open_files, resident, start_on_server_core};
use super::report::{Figure, Report, Samples};
use super::unit::Unit;

/// Sockets that are open, and those of them that are open before memory is read: what the first
/// ones cost is the server's.
const SOCKETS: usize = 5_008;
const FIRST: usize = 208;

const ROUNDS: usize = 5;

/// Of the bare server.
const MEMORY: f64 = 1.3;
const REQUESTS: f64 = 0.8;

const START_WITHIN: Duration = Duration::from_secs(10);

/// Longer than what follows the opening of a socket, and less than the pause between two tokens.
const SETTLED: Duration = Duration::from_secs(3);

pub(super) async fn run() -> anyhow::Result<Report> {
    leave_server_core()?;
    raise_open_files()?;
    let keys = toml! {
        gateway.requests_per_second = 100_000
        http.requests_per_address = 1_000_000
    };
    let unit = Unit::start(keys).await?;
    let sessions = unit.create(SOCKETS).await?;
    eprintln!("{} sessions are there", sessions.len());

    let asked = Requests::new(unit.port, &sessions[0].0, &unit.stack.token);
    let answer = asked.answer()?;
    let (bare, port) = start_bare(&unit.stack.nodes.dir, &unit.pair, &answer)?;
    let bare_asked = Requests::new(port, &sessions[0].0, &unit.stack.token);
    let (mut ours, mut other) = (Samples::default(), Samples::default());
    // The first round warms up.
    for round in 0..=ROUNDS {
        if round == 1 {
            (ours, other) = Default::default();
        }
        ours.push_number(asked.run(unit.process.pid())?);
        other.push_number(bare_asked.run(bare.pid())?);
        eprintln!("round {round} of {ROUNDS}");
    }
    let requests = ("a bare handler, per core", other.median());

    let paths: Vec<_> = sessions.into_iter().map(|(_, path)| path).collect();
    let own = per_socket(unit.process.pid(), unit.port, paths).await?;
    let pid = bare.pid();
    // The query of a socket, so that the clients are equal.
    let paths = vec!["/socket?token=x".to_owned(); SOCKETS];
    let bare_socket = per_socket(pid, port, paths).await?;
    let memory = ("a bare actix-ws socket", bare_socket);
    Ok(Report::new(vec![
        Figure::lower("memory of a socket", "KiB", own, memory, MEMORY),
        Figure::higher("requests", "1/s", ours.median(), requests, REQUESTS),
    ]))
}

/// Returns what each further socket adds to the memory of the server, in KiB.
async fn per_socket(pid: u32, port: u16, mut paths: Vec<String>) -> anyhow::Result<f64> {
    let (counts, rest) = (Rc::<Counts>::default(), paths.split_off(FIRST));
    open_all(port, paths.into_iter().map(Owner::page), &counts, false).await?;
    sleep(SETTLED).await;
    let (before, count) = (resident(pid)?, rest.len());
    open_all(port, rest.into_iter().map(Owner::page), &counts, false).await?;
    sleep(SETTLED).await;
    let open = counts.open.get();
    anyhow::ensure!(open == FIRST + count, "only {open} sockets are open");
    Ok((resident(pid)? - before) / count as f64)
}

fn start_bare(dir: &Path, pair: &Pair, answer: &Answer) -> anyhow::Result<(Process, u16)> {
    let (port, file) = (ports::free(), dir.join("answer.json"));
    std::fs::write(&file, serde_json::to_vec(answer)?)?;
    let (own, log) = (std::env::current_exe()?, dir.join("bare.log"));
    let files = (pair.certificate.display(), pair.key.display(), file.display());
    let arguments: [&dyn Display; 5] = [&"bare-server", &files.0, &files.1, &files.2, &port];
    let mut process = start_on_server_core("bare", &own, &arguments, &log)?;
    process.wait_for_port(port, START_WITHIN)?;
    Ok((process, port))
}
