//! What a process uses of the machine, and where it runs.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use stream_dev::process::{Process, find};

/// Where the server that is measured runs, and where everything else.
const SERVER_CORE: usize = 0;
const OTHER_CORE: usize = 1;

/// Has this thread, and those that it starts, stay off the core of the server.
pub(super) fn leave_server_core() -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    anyhow::ensure!(cores >= 2, "this bench needs two cores: one is the server's alone");
    let mut others = CpuSet::new();
    (OTHER_CORE..cores).for_each(|core| others.set(core));
    sched_setaffinity(None, &others).context("this process cannot choose its core")
}

/// Starts a program as [`Process::start`] does, on the server's core.
pub(super) fn start_on_server_core(
    name: &str,
    program: &Path,
    arguments: &[&dyn Display],
    log: &Path,
) -> anyhow::Result<Process> {
    let taskset = find("taskset").context("taskset of util-linux is missing")?;
    let mut words = vec!["-c".to_owned(), SERVER_CORE.to_string(), program.display().to_string()];
    words.extend(arguments.iter().map(ToString::to_string));
    Process::start(name, &taskset, &words, log)
}

/// Opens as many files as the system lets this process and its children.
pub(super) fn raise_open_files() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// The time for which the threads of a process have run: the first figure of `schedstat`.
pub(super) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let mut all = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let nanoseconds = text.split(' ').next().context("no figure in schedstat")?;
        all += Duration::from_nanos(nanoseconds.parse()?);
    }
    Ok(all)
}

/// What a process holds in memory, in KiB (`proc(5)`).
pub(super) fn resident(pid: u32) -> anyhow::Result<f64> {
    kib(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// What a process holds in memory, in KiB; of what several hold, its share.
pub(super) fn proportional(pid: u32) -> anyhow::Result<f64> {
    kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// Returns what the line of `file` that begins with `name` says, a file of `proc(5)`.
pub(super) fn kib(file: &str, name: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.with_context(|| format!("no {name} in {file}"))?.trim().parse()?)
}
