//! What the scripts share: the pinned toolchain, and how far a build is.

use std::path::Path;
use std::process::Command;

/// Runs `script` after `scripts/lib.sh` and returns what it says.
fn bash(script: &str) -> String {
    let output = Command::new("bash")
        .args(["-c", &format!("set -euo pipefail; source scripts/lib.sh; {script}")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_toolchain_is_pinned_alike_everywhere() {
    let read = |path| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(path).unwrap()
    };
    let pin = bash("echo $rust_pin");
    let pin = pin.trim();
    assert!(read("Cargo.toml").contains(&format!("rust-version = \"{pin}\"")), "{pin}");
    let workflow = read(".github/workflows/ci.yml");
    let installed = workflow.lines().filter(|line| line.contains("rustup toolchain install"));
    for line in installed {
        assert!(line.contains(&format!("install {pin}.")), "{line}");
    }
}

#[test]
fn the_workflow_leaves_no_test_out() {
    let workflow = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows/ci.yml");
    let workflow = std::fs::read_to_string(workflow).unwrap();
    assert!(!workflow.contains("STREAM_TEST_NO_MOUNTS"));
    let steps = workflow.split("- run: ").skip(1);
    let tests = steps.filter(|step| step.contains(".ci/run") || step.contains("scripts/test"));
    let as_root = tests.map(|step| step.trim_start_matches(">-").trim_start().starts_with("sudo "));
    assert_eq!(as_root.collect::<Vec<_>>(), [true, true], "root may mount, as some tests do");
}

#[test]
fn an_older_toolchain_is_refused() {
    let said =
        bash("rust_is_new_enough; is_at_least 1.95 1.94.9 || is_at_least 1.95 '' || echo no");
    assert_eq!(said, "no\n");
}

#[test]
fn a_build_says_how_many_crates_are_done_else_what_cargo_said_last() {
    let how_far = |log: &str| bash(&format!("how_far <(printf '{log}')"));
    let bar = r"   Compiling str0m v1\n    Building [=====>    ] 210/433: str0m, tokio      \r";
    assert_eq!(how_far(bar), "210 of 433 crates, \n");
    assert_eq!(how_far(""), "");
    let blocked = r"   Compiling str0m v1\n    Blocking waiting for file lock\n";
    assert_eq!(how_far(blocked), "Blocking waiting for file lock, \n");
}
