//! Ports for servers that must know theirs before they start.

use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use parking_lot::Mutex;
use stream_pki::random_bytes;

/// Below those that the system gives to connections, so that a port is still free a moment later,
/// and again when its server comes back.
const FROM: Range<u16> = 12_000..32_000;

/// What says to all processes that a port is taken, until this one ends: also before its server
/// listens, and while that is down.
static TAKEN: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// Returns a port of the loopback on which nobody listens, neither TCP nor UDP, and that nobody
/// else is given while this process lives.
pub fn free() -> u16 {
    free_on(Ipv4Addr::LOCALHOST.into())
}

/// Returns a port as [`free`] does, of an address that this machine has.
pub fn free_on(host: IpAddr) -> u16 {
    loop {
        let number = u16::from_le_bytes(*random_bytes::<2>());
        let port = FROM.start + number % (FROM.end - FROM.start);
        let address = (host, port);
        if let Some(taken) = take(port)
            && TcpListener::bind(address).is_ok()
            && UdpSocket::bind(address).is_ok()
        {
            TAKEN.lock().push(taken);
            return port;
        }
    }
}

/// Nothing if somebody has it. The name lies in no directory, and goes with its process.
fn take(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("stream-agent, port {port}")).ok()?;
    UnixListener::bind_addr(&name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_even_if_nobody_listens_there() {
        let port = free();
        assert!(FROM.contains(&port));
        assert!(take(port).is_none());
    }
}
