//! The two programs of this package. That cargo builds them for this test is what the flows of the
//! root package rely on, which find `stream-dev` beside their own programs.

use std::process::Command;

#[test]
fn the_stack_lists_its_commands() {
    let program = env!("CARGO_BIN_EXE_stream-dev");
    let output = Command::new(program).arg("--help").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for command in ["up", "bench", "ams"] {
        assert!(said.lines().any(|line| line.trim_start().starts_with(command)), "{said}");
    }
}

#[test]
fn an_unknown_bench_is_refused_with_the_names_of_those_there_are() {
    for (program, arguments) in [
        (env!("CARGO_BIN_EXE_stream-bench"), vec!["nonsense"]),
        (env!("CARGO_BIN_EXE_stream-dev"), vec!["bench", "nonsense"]),
    ] {
        let output = Command::new(program).args(arguments).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(said.contains("no bench nonsense") && said.contains("signaling"), "{said}");
    }
}
