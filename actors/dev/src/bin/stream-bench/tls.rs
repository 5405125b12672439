//! Handshakes that a core does for clients: our server beside nginx, with one key.
//!
//! Each server has a core to itself, and clients on the others do handshakes and nothing else, more
//! at a time than it can serve. What is counted is handshakes per second of the server's processor
//! time, its system calls included.

mod handshakes;
mod server;

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use rustls::crypto::SupportedKxGroup;
use stream_dev::keys::{KeyStore, Pair};
use stream_dev::ports;
use stream_dev::process::Process;

use self::handshakes::Handshakes;
pub(super) use self::server::serve;
use super::nginx::Nginx;
use super::process_usage::{cpu_time, leave_server_core, start_on_server_core};
use super::report::{Figure, Report, Samples};
use super::tls_client::{hybrid, x25519};

const ROUNDS: usize = 5;

/// Of nginx.
const FULL: f64 = 2.0;
const RESUMED: f64 = 1.5;

/// What the hybrid may leave of ours: a lattice beside the curve, and perhaps a signature.
const HYBRID: f64 = 0.9;
const HYBRID_RESUMED: f64 = 0.8;

/// The least share of a round in which the server works: less, and clients were what was measured.
const BUSY: f64 = 0.9;

const START_WITHIN: Duration = Duration::from_secs(10);

/// Handshakes a second, by their kind.
#[derive(Default)]
struct Rates {
    full: Samples,
    resumed: Samples,
    hybrid: Samples,
    hybrid_resumed: Samples,
}

pub(super) async fn run() -> anyhow::Result<Report> {
    let dir = tempfile::tempdir()?;
    let pair = KeyStore::shared()?.pair("gateway")?;
    leave_server_core()?;
    let (own, port) = start(dir.path(), &pair)?;
    let nginx = Nginx::start(&dir.path().join("nginx"), &pair)?;
    let (mut ours, mut other) = (Rates::default(), Rates::default());
    // The first round warms up.
    for round in 0..=ROUNDS {
        if round == 1 {
            (ours, other) = Default::default();
        }
        ours.full.push_number(measure(own.pid(), port, x25519(), false)?);
        other.full.push_number(measure(nginx.process.pid(), nginx.port, x25519(), false)?);
        ours.hybrid.push_number(measure(own.pid(), port, hybrid(), false)?);
        ours.resumed.push_number(measure(own.pid(), port, x25519(), true)?);
        other.resumed.push_number(measure(nginx.process.pid(), nginx.port, x25519(), true)?);
        ours.hybrid_resumed.push_number(measure(own.pid(), port, hybrid(), true)?);
        eprintln!("round {round} of {ROUNDS}");
    }
    let figure = |name, ours: &Samples, (other_is, other): (_, &Samples), goal| {
        Figure::higher(name, "1/s", ours.median(), (other_is, other.median()), goal)
    };
    let (nginx, curve) = ("nginx, X25519, per core", "ours with X25519");
    Ok(Report::new(vec![
        figure("full", &ours.full, (nginx, &other.full), FULL),
        figure("resumed", &ours.resumed, (nginx, &other.resumed), RESUMED),
        figure("full, hybrid", &ours.hybrid, (curve, &ours.full), HYBRID),
        figure("resumed, hybrid", &ours.hybrid_resumed, (curve, &ours.resumed), HYBRID_RESUMED),
    ]))
}

/// Starts ours as a process of its own.
fn start(dir: &Path, pair: &Pair) -> anyhow::Result<(Process, u16)> {
    let port = ports::free();
    let (own, log) = (std::env::current_exe()?, dir.join("ours.log"));
    let files = (pair.certificate.display(), pair.key.display());
    let arguments: [&dyn Display; 4] = [&"tls-server", &files.0, &files.1, &port];
    let mut process = start_on_server_core("ours", &own, &arguments, &log)?;
    process.wait_for_port(port, START_WITHIN)?;
    Ok((process, port))
}

/// Returns how many handshakes the server does in a second of its processor time.
fn measure(
    pid: u32,
    port: u16,
    group: &'static dyn SupportedKxGroup,
    resumed: bool,
) -> anyhow::Result<f64> {
    let load = Handshakes::new(port, group, resumed)?;
    let before = cpu_time(pid)?;
    let (count, took) = load.run()?;
    let used = (cpu_time(pid)? - before).as_secs_f64();
    let busy = used / took.as_secs_f64();
    if busy < BUSY {
        eprintln!("the server was busy for {:.0} % of a round only", busy * 100.0);
    }
    Ok(count as f64 / used)
}
