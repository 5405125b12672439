//! The stack as people start it: every part a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::{eventually, run_flow, stream_dev};
use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Longer than the smoke run allows itself, with its keys.
const SMOKE: std::time::Duration = std::time::Duration::from_secs(120);

/// A stack that runs, and the processes it says it is made of.
struct Up {
    child: Child,
    parts: Vec<u32>,
    dir: PathBuf,
}

impl Up {
    async fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(stream_dev())
            .arg("up")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let (mut parts, mut logs) = (Vec::new(), Vec::new());
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, rest)) = line.split_once(" pid ") {
                    let mut words = rest.split_whitespace();
                    parts.push(words.next().context("a pid")?.parse()?);
                    logs.push(PathBuf::from(words.next().context("a log")?));
                }
                if line.contains("Ctrl-C") {
                    return anyhow::Ok(());
                }
            }
            anyhow::bail!("it ended")
        };
        tokio::time::timeout(SMOKE, ready).await??;
        let in_common = |dir: &&Path| logs.iter().all(|log| log.starts_with(dir));
        let log = logs.first().context("parts")?;
        let dir = log.ancestors().find(in_common).context("a directory")?.to_owned();
        Ok(Self { child, parts, dir })
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.child.id().context("it runs")?.to_string();
        let sent = std::process::Command::new("kill").args(["-s", name, &pid]).status()?;
        anyhow::ensure!(sent.success(), "kill: {sent}");
        Ok(())
    }

    /// The parts that run. A process that has ended but is not waited for counts as ended.
    fn alive(&self) -> Vec<u32> {
        let runs = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
        };
        self.parts.iter().copied().filter(runs).collect()
    }

    async fn all_ended(&self) -> anyhow::Result<()> {
        eventually("ended", async || Ok(self.alive().is_empty().then_some(()))).await
    }
}

#[test]
fn the_smoke_run_drives_a_session_and_prints_its_time_line() {
    run_flow(async || {
        let run = Command::new(stream_dev()).args(["up", "--smoke"]).kill_on_drop(true).output();
        let output = tokio::time::timeout(SMOKE, run).await??;
        let said = String::from_utf8_lossy(&output.stdout);
        anyhow::ensure!(output.status.success(), "{output:?}");
        let milestones = [
            "create answered",
            "launched",
            "instance attached",
            "offer",
            "answer",
            "ICE connected",
            "first frame",
            "60th frame",
            "tap answered",
            "deleted",
            "instance gone",
        ];
        for milestone in milestones {
            let line = said.lines().find(|line| line.trim_end().ends_with(milestone));
            let line = line.with_context(|| format!("no {milestone} in {said}"))?;
            let time = line.split_whitespace().next().context("a time")?;
            assert!(time.parse::<u64>().is_ok(), "{line}");
        }
        Ok(())
    });
}

#[test]
fn asked_to_stop_it_leaves_nothing_behind() {
    run_flow(async || {
        let mut up = Up::start().await?;
        assert!(up.parts.len() >= 4 && up.alive() == up.parts, "{:?}", up.parts);
        up.signal("TERM")?;
        let ended = tokio::time::timeout(SMOKE, up.child.wait()).await??;
        assert!(ended.success(), "{ended}");
        up.all_ended().await?;
        assert!(!up.dir.exists(), "{} is still there", up.dir.display());
        Ok(())
    });
}

#[test]
fn killed_it_takes_its_parts_along() {
    run_flow(async || {
        let up = Up::start().await?;
        assert_eq!(up.alive(), up.parts);
        up.signal("KILL")?;
        up.all_ended().await?;
        std::fs::remove_dir_all(&up.dir)?;
        Ok(())
    });
}
