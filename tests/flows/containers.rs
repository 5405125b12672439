//! The files for compose and Kubernetes are what their makers say that such files are.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, ensure};

/// Holds `files` against the published schemas. Where these lie is in `MANIFEST_SCHEMAS`, and the
/// packages that read them are in `SCHEMATHESIS`; `scripts/test` sets both.
fn check(files: &[&Path]) -> anyhow::Result<Output> {
    let named = |name: &str| {
        std::env::var_os(name).with_context(|| format!("scripts/test says in {name} where it lies"))
    };
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", named("SCHEMATHESIS")?).env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg("tests/interop/containers/check.py").arg(named("MANIFEST_SCHEMAS")?).args(files);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).output().context("python3")
}

#[test]
fn compose_and_kubernetes_take_the_files() {
    checked().expect("files as their schemas say");
}

fn checked() -> anyhow::Result<()> {
    let files = ["compose.yaml", "kubernetes/agent.yaml", "kubernetes/gateway.yaml"];
    let files = files.map(|file| Path::new("config/containers").join(file));
    let output = check(&files.each_ref().map(|file| file.as_path()))?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(said.lines().count() == 7, "a service, a budget and a set, twice, and compose: {said}");

    // A schema that lets anything pass finds nothing.
    let dir = tempfile::tempdir()?;
    for (file, right, wrong) in [
        (&files[0], "stop_grace_period", "stop_grace"),
        (&files[1], "readOnlyRootFilesystem", "readOnlyRoot"),
    ] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file))?;
        let bad = dir.path().join("bad.yaml");
        std::fs::write(&bad, text.replace(right, wrong))?;
        let output = check(&[&bad])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1) && said.contains(wrong), "{said}");
    }
    Ok(())
}
