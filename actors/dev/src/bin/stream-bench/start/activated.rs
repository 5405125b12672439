//! A service as systemd runs it: its listening socket outlives it, and it tells when it is ready.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use stream_dev::process::beside_us;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::super::sources::{address, connect_tls};
use super::super::tls_client::{client, hybrid};

/// The socket is the first one after those of the terminal, and meant for the program itself.
const START: &str = "LISTEN_PID=$$ exec \"$@\" 3<&0 0</dev/null";

/// How long a start or an end may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(90);

const ASK_AGAIN: Duration = Duration::from_millis(5);

const READY: &[u8] =
    b"GET /1.0/health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";

pub(super) struct Activated {
    program: PathBuf,
    config: PathBuf,
    listener: TcpListener,
    notify: UnixDatagram,
    notify_path: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    tls: Arc<ClientConfig>,
}

impl Activated {
    /// A unit that runs the program `name` with `config`; what it needs besides is made in `dir`.
    pub(super) fn new(name: &str, config: &Path, dir: &Path) -> anyhow::Result<Self> {
        let notify_path = dir.join("notify");
        Ok(Self {
            program: beside_us(name)?,
            config: config.to_owned(),
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
            notify: UnixDatagram::bind(&notify_path)?,
            notify_path,
            log: dir.join("unit.log"),
            child: None,
            tls: Arc::new(client(hybrid(), true)),
        })
    }

    pub(super) fn port(&self) -> anyhow::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.child.as_ref().and_then(Child::id).context("it does not run")
    }

    /// Starts the service and waits until it says that it is ready.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new("sh");
        command
            .args(["-c", START, "sh"])
            .arg(&self.program)
            .args(["run", "--config"])
            .arg(&self.config)
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", "https")
            .env("NOTIFY_SOCKET", &self.notify_path)
            // As the units of config/systemd have it.
            .env("MALLOC_ARENA_MAX", "4")
            .env("MALLOC_TRIM_THRESHOLD_", "131072")
            .stdin(Stdio::from(OwnedFd::from(self.listener.try_clone()?)))
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        self.child = Some(command.spawn()?);
        let said = timeout(STEP_TIMEOUT, self.wait_for("READY=1")).await;
        said.with_context(|| format!("not ready: see {}", self.log.display()))?
    }

    async fn wait_for(&self, wanted: &str) -> anyhow::Result<()> {
        let mut datagram = [0; 4096];
        loop {
            let len = self.notify.recv(&mut datagram).await?;
            if str::from_utf8(&datagram[..len])?.lines().any(|line| line == wanted) {
                return Ok(());
            }
        }
    }

    /// Waits until it answers that all it depends on is there.
    pub(super) async fn connected(&self) -> anyhow::Result<()> {
        let asked = async {
            while !self.is_connected().await? {
                sleep(ASK_AGAIN).await;
            }
            anyhow::Ok(())
        };
        let asked = timeout(STEP_TIMEOUT, asked).await;
        asked.with_context(|| format!("something is away: see {}", self.log.display()))?
    }

    async fn is_connected(&self) -> anyhow::Result<bool> {
        // One address for each unit: none of them makes too many handshakes.
        let mut stream = connect_tls(address(9, 0), self.port()?, &self.tls).await?;
        stream.write_all(READY).await?;
        let mut answer = [0; 1024];
        let read = stream.read(&mut answer).await?;
        Ok(answer[..read].starts_with(b"HTTP/1.1 200"))
    }

    /// Ends it in order, and waits for that.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()?).ok().and_then(Pid::from_raw).context("an id")?;
        kill_process(pid, Signal::TERM)?;
        let mut child = self.child.take().context("it does not run")?;
        let status = timeout(STEP_TIMEOUT, child.wait()).await.context("it does not end")??;
        anyhow::ensure!(status.success(), "{status}: see {}", self.log.display());
        Ok(())
    }
}
