//! A program that runs beside us and ends with us, whatever ends us.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take to end when it is asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two looks at a program that tells nobody what it does.
const EXIT_POLL: Duration = Duration::from_millis(5);

/// A running program. Dropping it kills it.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; what it writes is added to the file `log`. Call it on a thread that stays:
    /// the program is killed when that thread ends.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        arguments: &[A],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log);
        let output = output.with_context(|| format!("file {}", log.display()))?;
        let mut command = dying_with_us(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C is for us, who stop the others in order.
            .process_group(0);
        let child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until the program accepts connections on `port`. Fails with its last words when it
    /// ends before, and after `within`.
    pub fn wait_for_port(&mut self, port: u16, within: Duration) -> anyhow::Result<()> {
        self.wait_for_address((Ipv4Addr::LOCALHOST, port).into(), within)
    }

    /// Waits until the program accepts connections at `address`; fails as
    /// [`Process::wait_for_port`] does.
    pub fn wait_for_address(
        &mut self,
        address: SocketAddr,
        within: Duration,
    ) -> anyhow::Result<()> {
        self.wait_until(within, || TcpStream::connect(address).is_ok())
    }

    /// Waits until `ready`; fails as [`Process::wait_for_port`] does.
    pub fn wait_until(
        &mut self,
        within: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        while !ready() {
            if let Some(status) = self.ended() {
                anyhow::bail!("{} ended ({status}):\n{}", self.name, self.last_words());
            }
            if Instant::now() > deadline {
                anyhow::bail!("{} is not ready in time:\n{}", self.name, self.last_words());
            }
            std::thread::sleep(EXIT_POLL);
        }
        Ok(())
    }

    /// The last lines of its log.
    pub fn last_words(&self) -> String {
        const LINES: usize = 8;
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Makes it hang, until it is woken.
    pub fn suspend(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`Process::suspend`].
    pub fn wake(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("its process id")?, signal)?)
    }

    /// Ends it without a chance to tidy up.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and kills it when it takes longer than five seconds.
    pub fn stop(&mut self) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        // Not reaped yet, or `try_wait` would have said so: the id is still its own.
        if self.ended().is_none()
            && let Some(pid) = pid
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(EXIT_POLL);
        }
        self.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the file that `name` means on the command line.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Returns the file of the program `name`, which cargo puts beside this one. Refuses when it is not
/// there.
pub fn beside_us(name: &str) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("where is this program?")?.with_file_name(name);
    anyhow::ensure!(program.is_file(), "{} is missing: build it first", program.display());
    Ok(program)
}

/// A parent that is killed cannot tell its children: the system does, asked by `setpriv` of
/// util-linux, which then becomes the program.
fn dying_with_us(program: &Path) -> Command {
    let Some(setpriv) = find("setpriv") else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, log: &Path) -> Process {
        let shell = find("sh").expect("a shell");
        Process::start("shell", &shell, &["-c", script], log).expect("started")
    }

    #[test]
    fn a_program_that_ends_too_early_leaves_its_last_words() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut process = shell("echo no such luck; exit 3", &dir.path().join("log"));
        let error = process.wait_until(STOP_TIMEOUT, || false).expect_err("ended").to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("no such luck"), "{error}");
    }

    #[test]
    fn a_program_ends_with_the_thread_that_started_it() {
        assert!(find("setpriv").is_some(), "the package util-linux is missing");
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("log");
        let (mut process, started) = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let mut process = shell("echo up; exec sleep 600", &log);
                let up = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("up"));
                process.wait_until(STOP_TIMEOUT, up).expect("up");
                (process, Instant::now())
            });
            thread.join().expect("no panic")
        });
        while process.ended().is_none() {
            assert!(started.elapsed() < STOP_TIMEOUT, "it lives on");
            std::thread::sleep(EXIT_POLL);
        }
    }

    #[test]
    fn a_program_may_tidy_up_when_it_is_stopped() {
        let dir = tempfile::tempdir().expect("a directory");
        let (log, tidied) = (dir.path().join("log"), dir.path().join("tidied"));
        let script = format!(
            "trap 'touch {}; exit 0' TERM; echo up; while :; do sleep 0.01; done",
            tidied.display()
        );
        let mut process = shell(&script, &log);
        let up = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("up"));
        process.wait_until(STOP_TIMEOUT, up).expect("up");
        process.stop();
        assert!(tidied.exists());
        assert!(process.ended().is_some_and(|status| status.success()));
    }
}
