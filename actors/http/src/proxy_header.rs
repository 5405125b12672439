//! The header of the PROXY protocol, version 2, with which a proxy tells whose connection it hands
//! on (HAProxy, *The PROXY protocol*, section 2.2).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ppp::v2::{Addresses, Command, Header};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// What comes before the addresses: signature, version, family and length.
const FIXED: usize = 16;

/// The longest header that is taken, in bytes: addresses of the longest kind.
const MAX_HEADER: usize = 232;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Whose connection it is.
#[derive(Debug, PartialEq)]
pub(crate) enum Origin {
    Client(IpAddr),
    /// The proxy's own: it looks whether we are there.
    Proxy,
}

/// Reads the header with which `stream` begins, and nothing behind it.
///
/// # Errors
///
/// No header came in time, or what came is none.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Origin> {
    timeout(TIMEOUT, read_header(stream)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

pub(crate) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Origin> {
    let mut header = [0; MAX_HEADER];
    stream.read_exact(&mut header[..FIXED]).await?;
    let length = FIXED + usize::from(u16::from_be_bytes([header[14], header[15]]));
    if length > MAX_HEADER {
        return Err(io::ErrorKind::InvalidData.into());
    }
    stream.read_exact(&mut header[FIXED..length]).await?;
    parse(&header[..length]).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Returns whose connection it is; `None` for what is no header, and for a connection of a kind
/// that has no address.
fn parse(header: &[u8]) -> Option<Origin> {
    let header = Header::try_from(header).ok()?;
    if header.command == Command::Local {
        return Some(Origin::Proxy);
    }
    let source: SocketAddr = match header.addresses {
        Addresses::IPv4(addresses) => (addresses.source_address, addresses.source_port).into(),
        Addresses::IPv6(addresses) => (addresses.source_address, addresses.source_port).into(),
        Addresses::Unspecified | Addresses::Unix(_) => return None,
    };
    Some(Origin::Client(source.ip()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("a length").to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    async fn origin(bytes: &[u8]) -> Option<Origin> {
        read(&mut &bytes[..]).await.ok()
    }

    #[tokio::test]
    async fn the_client_is_read_and_what_follows_is_left() {
        let v4 = [10, 0, 0, 7, 192, 0, 2, 1, 0x30, 0x39, 0x01, 0xbb];
        let bytes = [header(0x21, 0x11, &v4), b"hello".to_vec()].concat();
        let mut stream = &bytes[..];
        let client = Origin::Client([10, 0, 0, 7].into());
        assert_eq!(read(&mut stream).await.ok(), Some(client));
        assert_eq!(stream, b"hello");

        let address = |text: &str| text.parse::<std::net::Ipv6Addr>().expect("one").octets();
        let v6 = [&address("2001:db8::7")[..], &address("2001:db8::1"), &[0, 1, 0, 2]].concat();
        let client = "2001:db8::7".parse().expect("an address");
        assert_eq!(origin(&header(0x21, 0x21, &v6)).await, Some(Origin::Client(client)));
        assert_eq!(origin(&header(0x20, 0, &[])).await, Some(Origin::Proxy), "a look");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_header_is_refused() {
        assert_eq!(origin(b"GET / HTTP/1.1\r\n\r\n").await, None);
        assert_eq!(origin(&header(0x21, 0x11, &[1, 2])).await, None, "half an address");
        assert_eq!(origin(&header(0x21, 0, &[])).await, None, "no address");
        assert_eq!(origin(&header(0x11, 0x11, &[0; 12])).await, None, "another version");
        assert_eq!(origin(&header(0x21, 0x11, &[0; 217])).await, None, "too long");
        let (_writer, mut silent) = tokio::io::duplex(64);
        assert!(read(&mut silent).await.is_err(), "it never came");
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = parse(&[SIGNATURE, &bytes].concat());
        }
    }
}
