//! What a service tells the service manager that started it, as `sd_notify(3)` has it.
//!
//! Without a service manager that listens, nothing is told.

use std::ffi::OsStr;
use std::fmt;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};

/// A service manager that does not read waits for the next word: nobody here waits for it longer.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest status, in characters. A cause comes from elsewhere, and may be long.
const MAX_STATUS: usize = 400;

/// How often the watchdog is fed within its time.
const FEEDS: u32 = 3;

/// A fact for the service manager.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notice<'a> {
    /// The end of what is under way may take so long.
    ExtendTimeout(Duration),
    /// The service serves: after its start, and after each [`Notice::Reloading`].
    Ready,
    /// Files are read again, begun at this time of the clock `CLOCK_MONOTONIC`.
    Reloading { since_boot: Duration },
    /// How the service is, in words.
    Status(&'a str),
    /// The service ends.
    Stopping,
    /// The service is well: its supervisor is at work.
    Watchdog,
}

impl Notice<'_> {
    /// [`Notice::Reloading`] from now on.
    pub fn reloading() -> Self {
        let since_boot = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
        Self::Reloading { since_boot }
    }
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExtendTimeout(time) => write!(f, "EXTEND_TIMEOUT_USEC={}", time.as_micros()),
            Self::Ready => f.write_str("READY=1"),
            Self::Reloading { since_boot } => {
                write!(f, "RELOADING=1\nMONOTONIC_USEC={}", since_boot.as_micros())
            }
            Self::Status(words) => {
                f.write_str("STATUS=")?;
                // A line is a fact of its own.
                let plain = |c: char| if c.is_control() { ' ' } else { c };
                words.chars().take(MAX_STATUS).map(plain).try_for_each(|c| write!(f, "{c}"))
            }
            Self::Stopping => f.write_str("STOPPING=1"),
            Self::Watchdog => f.write_str("WATCHDOG=1"),
        }
    }
}

/// The service manager, if one listens.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    feed_interval: Option<Duration>,
}

impl ServiceManager {
    /// Returns the one that the environment names, with `NOTIFY_SOCKET`, and whose watchdog has the
    /// time that `WATCHDOG_USEC` says.
    ///
    /// # Errors
    ///
    /// The variables make no sense, or nobody listens: a service whose manager waits in vain would
    /// be ended for it.
    pub fn from_env() -> anyhow::Result<Self> {
        let text = |name| std::env::var(name).ok();
        let socket = std::env::var_os("NOTIFY_SOCKET");
        // Meant for another process than this one, which a shell may have started.
        let is_ours = |pid: String| pid == std::process::id().to_string();
        let time = text("WATCHDOG_USEC").filter(|_| text("WATCHDOG_PID").is_none_or(is_ours));
        Self::connect(socket.as_deref(), time.as_deref())
    }

    fn connect(socket: Option<&OsStr>, watchdog_usec: Option<&str>) -> anyhow::Result<Self> {
        let Some(name) = socket.filter(|name| !name.is_empty()) else { return Ok(Self::default()) };
        let reached = || {
            let address = match name.as_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
                _ => SocketAddr::from_pathname(name)?,
            };
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            socket.set_write_timeout(Some(SEND_TIMEOUT))?;
            std::io::Result::Ok(socket)
        };
        let socket = reached().with_context(|| {
            let name = name.display();
            format!("NOTIFY_SOCKET is {name}, where no service manager listens: unset it")
        })?;
        let time = watchdog_usec.map(|usec| {
            let usec = usec.parse().ok().filter(|usec| *usec > 0);
            let usec = usec.with_context(|| {
                format!("WATCHDOG_USEC is {watchdog_usec:?}: give microseconds, or unset it")
            })?;
            anyhow::Ok(Duration::from_micros(usec) / FEEDS)
        });
        Ok(Self { socket: Some(socket), feed_interval: time.transpose()? })
    }

    /// Whether one listens.
    pub fn listens(&self) -> bool {
        self.socket.is_some()
    }

    /// Between two [`Notice::Watchdog`]; `None` where nobody waits for them.
    pub fn feed_interval(&self) -> Option<Duration> {
        self.feed_interval
    }

    /// Tells the facts together.
    pub fn tell(&self, notices: &[Notice<'_>]) {
        let Some(socket) = &self.socket else { return };
        let lines: Vec<String> = notices.iter().map(Notice::to_string).collect();
        if let Err(error) = socket.send(lines.join("\n").as_bytes()) {
            log::warn!(cause:% = error; "the service manager was not told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).expect("a datagram");
        String::from_utf8(buffer[..len].to_vec()).expect("text")
    }

    #[test]
    fn facts_are_lines_as_systemd_reads_them() {
        let line = |notice: Notice<'_>| notice.to_string();
        assert_eq!(line(Notice::Ready), "READY=1");
        assert_eq!(line(Notice::Stopping), "STOPPING=1");
        assert_eq!(line(Notice::Watchdog), "WATCHDOG=1");
        let since_boot = Duration::from_millis(1_500);
        assert_eq!(line(Notice::Reloading { since_boot }), "RELOADING=1\nMONOTONIC_USEC=1500000");
        assert_eq!(line(Notice::ExtendTimeout(since_boot)), "EXTEND_TIMEOUT_USEC=1500000");
    }

    #[test]
    fn a_status_is_one_line_whatever_a_cause_brings_along() {
        let line = Notice::Status("away: NATS\nSTOPPING=1\u{1b}[2J").to_string();
        assert_eq!(line, "STATUS=away: NATS STOPPING=1 [2J");
        let long = "ä".repeat(10 * MAX_STATUS);
        assert_eq!(Notice::Status(&long).to_string().chars().count(), MAX_STATUS + 7);
    }

    #[test]
    fn it_is_told_by_a_path_and_by_an_abstract_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let unique = format!("stream-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&unique).expect("a name");
        for (listener, name) in [
            (UnixDatagram::bind(&path).expect("bound"), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name).expect("bound"), format!("@{unique}").into()),
        ] {
            let manager = ServiceManager::connect(Some(&name), Some("3000000")).expect("reached");
            assert_eq!(manager.feed_interval(), Some(Duration::from_secs(1)));
            manager.tell(&[Notice::Ready, Notice::Status("serving")]);
            assert_eq!(received(&listener), "READY=1\nSTATUS=serving");
        }
    }

    #[test]
    fn without_one_nothing_is_told_and_one_that_is_not_there_is_an_error() {
        let none = ServiceManager::connect(None, Some("1")).expect("nobody to tell");
        none.tell(&[Notice::Ready]);
        assert!(!none.listens() && none.feed_interval().is_none());
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let gone = ServiceManager::connect(Some(path.as_os_str()), None).expect_err("nobody");
        assert!(gone.to_string().contains("unset it"), "{gone:#}");
        let _listener = UnixDatagram::bind(&path).expect("bound");
        for senseless in ["0", "soon", "-1"] {
            ServiceManager::connect(Some(path.as_os_str()), Some(senseless)).expect_err(senseless);
        }
    }
}
