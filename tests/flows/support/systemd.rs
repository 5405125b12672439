//! Plays systemd for one service: holds its listening socket, starts it, hears what it says of
//! itself.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};

use super::{STEP_TIMEOUT, eventually};

/// The socket is the first one after those of the terminal, and meant for the program itself.
const START: &str = "LISTEN_PID=$$ exec \"$@\" 3<&0 0</dev/null";

/// A unit of type `notify`, with a socket of its own.
pub(crate) struct Systemd {
    program: PathBuf,
    config: PathBuf,
    wrapper: Vec<String>,
    environment: Option<Vec<(String, String)>>,
    listener: TcpListener,
    notify: UnixDatagram,
    notify_path: PathBuf,
    log: PathBuf,
    watchdog: Option<Duration>,
    child: Option<Child>,
    heard: VecDeque<String>,
}

impl Systemd {
    /// A unit that runs `program` with `config`; what it needs besides is made in `dir`.
    pub(crate) fn new(program: &'static str, config: &Path, dir: &Path) -> anyhow::Result<Self> {
        let notify_path = dir.join("notify");
        let notify = StdDatagram::bind(&notify_path)?;
        notify.set_nonblocking(true)?;
        Ok(Self {
            program: program.into(),
            config: config.to_owned(),
            wrapper: Vec::new(),
            environment: None,
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
            notify: UnixDatagram::from_std(notify)?,
            notify_path,
            log: dir.join("unit.log"),
            watchdog: None,
            child: None,
            heard: VecDeque::new(),
        })
    }

    /// Gives it a `WatchdogSec`.
    pub(crate) fn with_watchdog(self, time: Duration) -> Self {
        Self { watchdog: Some(time), ..self }
    }

    /// Runs `program` instead, as what the command `wrapper` runs, and with this environment only.
    pub(crate) fn run_by(
        self,
        wrapper: Vec<String>,
        program: PathBuf,
        environment: Vec<(String, String)>,
    ) -> Self {
        Self { wrapper, program, environment: Some(environment), ..self }
    }

    /// Runs the program with these words as the unit would, and waits for its end.
    pub(crate) async fn exec(&self, words: &[&OsStr]) -> anyhow::Result<()> {
        let done = self.command(&["-c", "exec \"$@\"", "sh"]).args(words).output().await?;
        ensure!(done.status.success(), "{done:?}");
        Ok(())
    }

    fn command(&self, shell: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment.iter().cloned());
        }
        command.args(shell).args(&self.wrapper).arg(&self.program).kill_on_drop(true);
        command
    }

    /// Where clients find the service, whether it runs or not.
    pub(crate) fn url(&self) -> anyhow::Result<String> {
        Ok(format!("https://{}", self.listener.local_addr()?))
    }

    /// Starts the service and waits until it says that it is ready.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = self.command(&["-c", START, "sh"]);
        command
            .args(["run", "--config"])
            .arg(&self.config)
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", "https")
            .env("NOTIFY_SOCKET", &self.notify_path)
            .stdin(Stdio::from(OwnedFd::from(self.listener.try_clone()?)))
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(time) = self.watchdog {
            command.env("WATCHDOG_USEC", time.as_micros().to_string());
        }
        self.child = Some(command.spawn()?);
        self.wait_for("READY=1").await
    }

    /// Waits until the service says `line`; what it said before counts no more.
    pub(crate) async fn wait_for(&mut self, line: &str) -> anyhow::Result<()> {
        self.wait_until(|said| said == line).await.with_context(|| format!("no {line}"))?;
        Ok(())
    }

    /// Waits for the first line that is `wanted`.
    pub(crate) async fn wait_until(
        &mut self,
        wanted: impl Fn(&str) -> bool,
    ) -> anyhow::Result<String> {
        let found = async {
            loop {
                while let Some(line) = self.heard.pop_front() {
                    if wanted(&line) {
                        return anyhow::Ok(line);
                    }
                }
                let mut datagram = [0; 4096];
                let len = self.notify.recv(&mut datagram).await?;
                let text = str::from_utf8(&datagram[..len])?;
                self.heard.extend(text.lines().map(str::to_owned));
            }
        };
        let found = tokio::time::timeout(STEP_TIMEOUT, found).await;
        found.unwrap_or_else(|_| anyhow::bail!("not said in time: {}", self.log_text()))
    }

    /// Forgets what the service has said so far.
    pub(crate) fn forget(&mut self) {
        self.heard.clear();
        let mut datagram = [0; 4096];
        while self.notify.try_recv(&mut datagram).is_ok() {}
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.child.as_ref().and_then(Child::id).context("it runs")?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("an id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("it runs")?;
        eventually("ended", async || Ok(child.try_wait()?)).await
    }

    /// Ends it in order and starts it again, as `systemctl restart` does.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.start().await
    }

    /// Ends it in order.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.ended().await?;
        ensure!(status.success(), "{status}: {}", self.log_text());
        Ok(())
    }

    pub(crate) fn clear_log(&self) -> anyhow::Result<()> {
        Ok(std::fs::write(&self.log, "")?)
    }

    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
