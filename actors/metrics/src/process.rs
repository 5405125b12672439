//! What Linux tells of this process, under the names that exporters of all languages give it.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::{Collect, Exposition};

/// In these `stat` tells times, whatever the kernel counts in (`proc(5)`, `USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// When this process took up its work, with which restarts are told.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    started: SystemTime,
}

impl Process {
    /// The process that begins now.
    pub fn started_now() -> Self {
        Self { started: SystemTime::now() }
    }
}

impl Collect for Process {
    /// Adds what is known; what the system does not tell is left out.
    fn collect(&self, exposition: &mut Exposition) {
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let found = [
            ("process_start_time_seconds", "When the process started, since 1970", Some(started)),
            ("process_resident_memory_bytes", "Memory that the process holds", resident_bytes()),
            ("process_open_fds", "Files and sockets that are open", open_files()),
            ("process_max_fds", "Files and sockets that may be open at most", max_open_files()),
        ];
        for (name, help, value) in found {
            let Some(value) = value else { continue };
            let gauge = Gauge::<u64, AtomicU64>::default();
            gauge.set(value);
            exposition.of_process(name, help, gauge);
        }
        if let Some(seconds) = cpu_seconds() {
            let counter = Counter::<f64, AtomicU64>::default();
            counter.inc_by(seconds);
            exposition.of_process("process_cpu_seconds", "Time that the process ran for", counter);
        }
    }
}

/// Reads a file of `/proc/self`.
fn read(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/self/{name}")).ok()
}

fn resident_bytes() -> Option<u64> {
    let status = read("status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn open_files() -> Option<u64> {
    fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64)
}

fn max_open_files() -> Option<u64> {
    let limits = read("limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    cpu_ticks(&read("stat")?).map(|ticks| ticks as f64 / TICKS_PER_SECOND)
}

/// Reads the ticks in user and in kernel mode, the 14th and 15th field of `stat`. The second one is
/// the name of the program, in which anything may stand.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    #[test]
    fn the_process_is_told_under_names_without_a_prefix() {
        let mut exposition = Exposition::new("p");
        Process::started_now().collect(&mut exposition);
        let text = exposition.text(Format::Text);
        for name in [
            "process_start_time_seconds",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_cpu_seconds_total",
        ] {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            let value: f64 = line.and_then(|value| value.parse().ok()).expect(name);
            assert!(value > 0.0 || name == "process_cpu_seconds_total", "{name} is {value}");
        }
        assert!(!text.contains("# EOF"));
        assert!(exposition.text(Format::OpenMetrics).ends_with("# EOF\n"));
    }

    #[test]
    fn a_program_may_be_called_anything() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 9 0 0 0 150 27 0 0 20 0 9 0 1 2 3";
        assert_eq!(cpu_ticks(stat), Some(177));
        assert_eq!(cpu_ticks("7 (cut"), None);
    }
}
