//! The units of systemd: systemd understands them, and they leave a service little to do harm with.

use std::path::Path;
use std::process::{Command, Output};

const SERVICES: [&str; 2] = ["stream-agent", "stream-gateway"];

/// The most exposure that passes, in tenths, as systemd counts it: 0 is none, 100 is all.
const EXPOSURE: u32 = 20;

fn read(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.join("config").join(file)).unwrap()
}

pub(crate) fn unit(service: &str) -> String {
    read(&format!("systemd/{service}.service"))
}

fn socket(service: &str) -> String {
    read(&format!("systemd/{service}.socket"))
}

/// Asks about the units of `service` as they are with a program that exists.
fn analyze(service: &str, unit: &str, question: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(format!("{service}.service"));
    std::fs::write(&file, unit.replace(&format!("/usr/bin/{service}"), "/bin/true")).unwrap();
    let socket_file = file.with_extension("socket");
    std::fs::write(&socket_file, socket(service)).unwrap();
    let file = if question[0] == "verify" { vec![file, socket_file] } else { vec![file] };
    let asked = Command::new("systemd-analyze").args(question).args(&file).output();
    asked.expect("systemd-analyze: scripts/test installs it")
}

fn exposure(service: &str, unit: &str) -> Output {
    let threshold = format!("--threshold={EXPOSURE}");
    analyze(service, unit, &["security", "--offline=yes", "--no-pager", &threshold])
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    for service in SERVICES {
        let answer = analyze(service, &unit(service), &["verify", "--man=no"]);
        assert!(answer.status.success(), "{answer:?}");
        // Of an unknown key it only warns.
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(!said.contains(&format!("{service}.")), "{said}");
    }
}

#[test]
fn a_service_that_is_broken_into_can_do_little_to_the_system() {
    for service in SERVICES {
        let answer = exposure(service, &unit(service));
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stdout));
        let open = unit(service).replace("SystemCallFilter", "#").replace("Protect", "#");
        assert!(!exposure(service, &open).status.success(), "nothing is found out");
    }
}

#[test]
fn a_service_leaves_no_core() {
    for service in SERVICES {
        assert!(unit(service).contains("\nLimitCORE=0\n"), "{service}");
    }
}

/// The value of `key` in seconds.
pub(crate) fn seconds(unit: &str, key: &str) -> u64 {
    let value = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn a_stuck_actor_ends_the_service_before_the_watchdog_of_systemd_does() {
    let limits = stream_supervisor::WatchdogConfig::default();
    // A thread has missed its last heartbeat one look after the time in which it counts as stuck.
    let noticed = limits.heartbeat + limits.heartbeat / 2;
    for service in SERVICES {
        let unit = unit(service);
        assert!(unit.contains("\nType=notify\n"), "{service}");
        let time = seconds(&unit, "WatchdogSec");
        assert!(time > (noticed + limits.drain).as_secs() + 15, "{service}: {time}");
        let longest = read(&format!("{}.toml", service.trim_start_matches("stream-")));
        let drain = seconds(&longest.replace(" = ", "="), "#drain_s");
        assert!(seconds(&unit, "TimeoutStopSec") >= drain + 15, "{service}: drains {drain} s");
    }
}

#[test]
fn the_sockets_listen_where_the_services_do_by_themselves() {
    for service in SERVICES {
        let socket = socket(service);
        let address = socket.lines().find_map(|line| line.strip_prefix("ListenStream="));
        let address = address.expect("an address");
        let config = read(&format!("{}.toml", service.trim_start_matches("stream-")));
        assert!(config.contains(&format!("#listen = \"{address}\"")), "{address}");
        assert!(socket.contains("\nFileDescriptorName=https\n"), "{service}");
    }
}
