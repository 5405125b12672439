//! What a unit lets its service ask of the kernel, and whether a trace of strace keeps to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

/// The filter of a unit. Nothing is refused here: what the service does when it is refused a call
/// may look well and be wrong.
pub(super) struct Sandbox {
    calls: BTreeSet<String>,
    families: BTreeSet<String>,
    /// Of the unit: key, value.
    lines: Vec<(String, String)>,
}

impl Sandbox {
    /// What the unit of `service` says.
    pub(super) fn of(service: &str) -> anyhow::Result<Self> {
        let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/systemd");
        Self::read(&std::fs::read_to_string(units.join(format!("{service}.service")))?)
    }

    fn read(unit: &str) -> anyhow::Result<Self> {
        let lines = unit.lines().filter(|line| !line.starts_with('#'));
        let lines = lines.filter_map(|line| line.split_once('='));
        let lines = lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let mut sandbox = Self { calls: BTreeSet::new(), families: BTreeSet::new(), lines };
        let filters: Vec<_> = sandbox.all("SystemCallFilter").map(str::to_owned).collect();
        ensure!(filters.first().is_some_and(|first| !first.starts_with('~')), "a list of what may");
        // Of every list of what may be called.
        sandbox.calls = expand("@default")?;
        for filter in &filters {
            let (denied, names) = match filter.strip_prefix('~') {
                Some(names) => (true, names),
                None => (false, filter.as_str()),
            };
            for name in names.split_whitespace() {
                let calls = expand(name)?;
                match denied {
                    true => sandbox.calls.retain(|call| !calls.contains(call)),
                    false => sandbox.calls.extend(calls),
                }
            }
        }
        let families = sandbox.all("RestrictAddressFamilies").flat_map(str::split_whitespace);
        sandbox.families = families.map(str::to_owned).collect();
        for (key, value) in [
            ("SystemCallArchitectures", "native"),
            ("MemoryDenyWriteExecute", "yes"),
            ("RestrictNamespaces", "yes"),
        ] {
            ensure!(sandbox.all(key).eq([value]), "a trace is judged by {key}={value}");
        }
        Ok(sandbox)
    }

    /// All values of a key of the unit.
    pub(super) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        let lines = self.lines.iter().filter(move |(found, _)| found == key);
        lines.map(|(_, value)| value.as_str())
    }

    /// What of a trace the unit would refuse, each with an example.
    pub(super) fn refused(&self, trace: &str) -> anyhow::Result<BTreeMap<String, String>> {
        let mut refused = BTreeMap::new();
        for call in trace.lines().map(Call::of) {
            let Some(Call { name, arguments }) = call? else { continue };
            let with = |word: &str| arguments.contains(word);
            let family = arguments.split([',', ')']).next().unwrap_or_default();
            let cause = match name {
                name if !self.calls.contains(name) => "SystemCallFilter",
                "socket" if !self.families.contains(family) => "RestrictAddressFamilies",
                "mmap" if with("PROT_WRITE") && with("PROT_EXEC") => "MemoryDenyWriteExecute",
                "mprotect" | "pkey_mprotect" if with("PROT_EXEC") => "MemoryDenyWriteExecute",
                "shmat" if with("SHM_EXEC") => "MemoryDenyWriteExecute",
                "clone" | "clone3" | "unshare" if with("CLONE_NEW") => "RestrictNamespaces",
                "setns" => "RestrictNamespaces",
                _ => continue,
            };
            refused
                .entry(format!("{name}: {cause}"))
                .or_insert_with(|| format!("{name}({arguments}"));
        }
        Ok(refused)
    }
}

/// The calls that a name of a filter stands for.
fn expand(name: &str) -> anyhow::Result<BTreeSet<String>> {
    if !name.starts_with('@') {
        return Ok(BTreeSet::from([name.to_owned()]));
    }
    let mut list = Command::new("systemd-analyze");
    let list = list.args(["--no-pager", "syscall-filter", name]).output();
    let list = list.context("scripts/test installs systemd-analyze")?;
    ensure!(list.status.success(), "{name}: {list:?}");
    let mut calls = BTreeSet::new();
    // The name itself, and then what is in it.
    for line in String::from_utf8(list.stdout)?.lines().skip(1).map(str::trim) {
        if !line.is_empty() && !line.starts_with('#') {
            calls.extend(expand(line)?);
        }
    }
    ensure!(!calls.is_empty(), "{name} is empty");
    Ok(calls)
}

/// The names of the calls in a trace.
pub(super) fn names(trace: &str) -> anyhow::Result<BTreeSet<&str>> {
    let calls = trace.lines().filter_map(|line| Call::of(line).transpose());
    calls.map(|call| Ok(call?.name)).collect()
}

/// A call at its begin, as strace writes it.
struct Call<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> Call<'a> {
    /// Reads a line; none where a call goes on, where a signal comes, and where a thread ends.
    fn of(line: &'a str) -> anyhow::Result<Option<Self>> {
        let (thread, rest) = line.split_once(' ').context("a thread")?;
        ensure!(thread.bytes().all(|digit| digit.is_ascii_digit()), "not a line: {line}");
        let rest = rest.trim_start();
        // It ended before strace could see which.
        let goes_on = ["<... ", "--- ", "+++ ", "???"];
        if goes_on.iter().any(|begin| rest.starts_with(begin)) {
            return Ok(None);
        }
        let (name, arguments) = rest.split_once('(').with_context(|| format!("odd: {line}"))?;
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        ensure!(name.bytes().all(is_name), "not a call: {line}");
        Ok(Some(Self { name, arguments }))
    }
}

#[test]
fn what_a_unit_refuses_is_found_in_a_trace() {
    let sandbox = Sandbox::of("stream-gateway").expect("a unit");
    let refused = |line: &str| -> Vec<String> {
        let line = format!("17 {line}");
        sandbox.refused(&line).expect("a trace").into_keys().collect()
    };
    for good in [
        "socket(AF_INET6, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = 9",
        "mmap(NULL, 8192, PROT_READ|PROT_EXEC, MAP_PRIVATE, 3, 0) = 0x7f0000000000",
        "mprotect(0x7f0000000000, 4096, PROT_READ|PROT_WRITE <unfinished ...>",
        "<... mprotect resumed>) = 0",
        "--- SIGTERM {si_signo=SIGTERM, si_code=SI_USER} ---",
        "+++ exited with 0 +++",
        "clone3({flags=CLONE_VM|CLONE_FS|CLONE_THREAD, stack_size=0x9000}, 88) = 18",
    ] {
        assert_eq!(refused(good), [""; 0], "{good}");
    }
    for (bad, cause) in [
        ("fchown(3, 0, 0) = 0", "fchown: SystemCallFilter"),
        ("sched_setaffinity(0, 8, [1]) = 0", "sched_setaffinity: SystemCallFilter"),
        ("bpf(BPF_MAP_CREATE, {}, 72) = 3", "bpf: SystemCallFilter"),
        ("syscall_0x1ff(0) = -1 ENOSYS", "syscall_0x1ff: SystemCallFilter"),
        ("socket(AF_PACKET, SOCK_RAW, 0) = 3", "socket: RestrictAddressFamilies"),
        (
            "mprotect(0x7f0000000000, 9, PROT_READ|PROT_EXEC) = 0",
            "mprotect: MemoryDenyWriteExecute",
        ),
        ("mmap(NULL, 9, PROT_WRITE|PROT_EXEC, 0, 3, 0) = 0", "mmap: MemoryDenyWriteExecute"),
        ("clone(child_stack=NULL, flags=CLONE_NEWNS|SIGCHLD) = 18", "clone: RestrictNamespaces"),
    ] {
        assert_eq!(refused(bad), [cause], "{bad}");
    }
    assert!(sandbox.refused("17 [ Process PID=17 runs in 32 bit mode. ]").is_err());
}
