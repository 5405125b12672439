//! Ports for servers that must know theirs before they start.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;

use stream_pki::random_bytes;

/// Below those that the system gives to connections, so that a port is still free a moment later,
/// and again when its server comes back.
const FROM: Range<u16> = 12_000..32_000;

/// Returns a port of the loopback on which nobody listens, neither TCP nor UDP.
pub fn free() -> u16 {
    loop {
        let number = u16::from_le_bytes(*random_bytes::<2>());
        let port = FROM.start + number % (FROM.end - FROM.start);
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
}
