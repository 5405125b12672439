//! The units of systemd: systemd understands them, and they leave a service little to do harm with.

use std::path::Path;
use std::process::{Command, Output};

const SERVICES: [&str; 2] = ["stream-agent", "stream-gateway"];

/// The most exposure that passes, in tenths, as systemd counts it: 0 is none, 100 is all.
const EXPOSURE: u32 = 20;

fn unit(service: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.join(format!("config/systemd/{service}.service"))).unwrap()
}

/// Asks about the unit of `service` as it is with a program that exists.
fn analyze(service: &str, unit: &str, question: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(format!("{service}.service"));
    std::fs::write(&file, unit.replace(&format!("/usr/bin/{service}"), "/bin/true")).unwrap();
    let asked = Command::new("systemd-analyze").args(question).arg(&file).output();
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
        assert!(!said.contains(&format!("{service}.service")), "{said}");
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
