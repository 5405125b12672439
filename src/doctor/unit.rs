//! The unit of the service manager, and the process, if there is one.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use stream_admin::Client;
use tokio::net::UnixStream;

use super::Finding;

const AREA: &str = "unit";

/// Each socket is one, and there are two for each client of a gateway.
const MIN_OPEN_FILES: u64 = 4096;

/// Where a service is found.
#[derive(Debug)]
pub(super) struct UnitPlace<'a> {
    pub(super) service: &'a str,
    pub(super) admin_socket: &'a Path,
    pub(super) listen: SocketAddr,
}

pub(super) async fn look(place: &UnitPlace<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    match running(place.admin_socket).await {
        Some(pid) => {
            found.push(Finding::good(AREA, format!("{} runs", place.service)));
            let limits = pid.map(|pid| format!("/proc/{pid}/limits"));
            let limits = limits.and_then(|path| fs::read_to_string(path).ok());
            found.extend(limits.as_deref().and_then(of_limits));
        }
        None => found.push(not_running(place)),
    }
    found.extend(of_systemd(place.service, Path::new("/")));
    found
}

/// Whether a service answers at the operator's socket, and which process, where that is told.
async fn running(socket: &Path) -> Option<Option<i32>> {
    Client::new(socket).status().await.ok()?;
    let peer = UnixStream::connect(socket).await.ok();
    Some(peer.and_then(|peer| peer.peer_cred().ok()).and_then(|peer| peer.pid()))
}

fn not_running(place: &UnitPlace<'_>) -> Finding {
    let UnitPlace { service, admin_socket, listen } = place;
    let socket = admin_socket.display();
    match TcpListener::bind(listen) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => Finding::error(
            AREA,
            format!("nothing answers at {socket}, and {listen} is taken"),
            format!(
                "`ss -ltnp` shows by whom: end that process, or where it is {service}.socket, \
                 start the service"
            ),
        ),
        Err(error) => Finding::error(
            AREA,
            format!("{service} does not run, and could not listen at {listen}: {error}"),
            "choose another address or port",
        ),
        Ok(_) => Finding::warning(
            AREA,
            format!("{service} does not run: nothing answers at {socket}"),
            format!("`systemctl start {service}`"),
        ),
    }
}

/// Reads how many files a process may have open.
fn of_limits(limits: &str) -> Option<Finding> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft: u64 = line.split_whitespace().next()?.parse().ok()?;
    (soft < MIN_OPEN_FILES).then(|| {
        Finding::warning(
            AREA,
            format!("the service may have {soft} files open: each connection is one"),
            "LimitNOFILE=65536 in its unit, or `ulimit -n` before it starts",
        )
    })
}

/// Looks whether systemd starts the service with the system at `root`; where there is no systemd,
/// somebody else does.
fn of_systemd(service: &str, root: &Path) -> Option<Finding> {
    if !root.join("run/systemd/system").is_dir() {
        return None;
    }
    let wanted = root.join("etc/systemd/system/multi-user.target.wants");
    let is_enabled = wanted.join(format!("{service}.service")).is_symlink();
    (!is_enabled).then(|| {
        Finding::warning(
            AREA,
            format!("{service} is not started with the system"),
            format!("`systemctl enable {service}.socket {service}`"),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::doctor::Severity;

    #[tokio::test]
    async fn a_service_that_does_not_run_is_told_from_one_whose_port_is_taken() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("admin.socket");
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let listen = taken.local_addr().expect("an address");
        let place = UnitPlace { service: "stream-agent", admin_socket: &socket, listen };
        let found = look(&place).await.remove(0);
        assert_eq!(found.severity, Severity::Error);
        assert!(found.what.contains("is taken") && found.remedy.contains("ss -ltnp"), "{found:?}");
        drop(taken);
        let found = look(&place).await.remove(0);
        assert_eq!(found.severity, Severity::Warning);
        assert!(found.remedy.contains("systemctl start stream-agent"), "{found:?}");
    }

    #[test]
    fn a_low_limit_of_open_files_is_told() {
        let limits = |n: &str| format!("Limit  Soft  Hard\nMax open files   {n}  4096   files\n");
        let low = of_limits(&limits("1024")).expect("a finding");
        assert!(low.what.contains("1024") && low.remedy.contains("LimitNOFILE"), "{low:?}");
        assert_eq!(of_limits(&limits("65536")), None);
        assert_eq!(of_limits("nothing of the kind"), None);
    }

    #[test]
    fn a_unit_that_is_not_enabled_is_told_where_there_is_systemd() {
        let root = tempfile::tempdir().expect("a directory");
        assert_eq!(of_systemd("stream-agent", root.path()), None);
        fs::create_dir_all(root.path().join("run/systemd/system")).expect("made");
        let found = of_systemd("stream-agent", root.path()).expect("a finding");
        assert!(found.remedy.contains("systemctl enable"), "{found:?}");
        let wanted = root.path().join("etc/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wanted).expect("made");
        symlink("/usr/lib/x", wanted.join("stream-agent.service")).expect("linked");
        assert_eq!(of_systemd("stream-agent", root.path()), None);
    }
}
