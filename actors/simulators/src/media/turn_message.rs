//! TURN messages, as much of RFC 8489 and 8656 as a client over UDP speaks. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;

pub(super) const ALLOCATE: u16 = 0x003;
pub(super) const REFRESH: u16 = 0x004;
pub(super) const SEND: u16 = 0x016;
pub(super) const DATA: u16 = 0x017;
pub(super) const CREATE_PERMISSION: u16 = 0x008;

/// Added to the method of a request by what answers it.
pub(super) const SUCCESS: u16 = 0x100;
pub(super) const ERROR: u16 = 0x110;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const LIFETIME: u16 = 0x000d;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const PAYLOAD: u16 = 0x0013;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const XOR_RELAYED_ADDRESS: u16 = 0x0016;
const REQUESTED_TRANSPORT: u16 = 0x0019;

/// UDP, as REQUESTED-TRANSPORT has it.
const UDP: [u8; 4] = [17, 0, 0, 0];

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER: usize = 20;

/// The bytes of a MESSAGE-INTEGRITY attribute, its head included.
const INTEGRITY: usize = 24;

pub(super) type Transaction = [u8; 12];

/// What a request is signed with, once the relay has said its realm and a nonce.
pub(super) struct Credential {
    username: String,
    realm: String,
    nonce: Vec<u8>,
    key: [u8; 16],
}

impl Credential {
    pub(super) fn new(username: &str, password: &str, realm: &str, nonce: &[u8]) -> Self {
        let mut digest = Md5::new();
        for part in [username, ":", realm, ":", password] {
            digest.update(part);
        }
        let (username, realm) = (username.to_owned(), realm.to_owned());
        Self { username, realm, nonce: nonce.to_vec(), key: digest.finalize().into() }
    }

    pub(super) fn set_nonce(&mut self, nonce: &[u8]) {
        self.nonce = nonce.to_vec();
    }

    fn mac(&self, bytes: &[u8]) -> [u8; 20] {
        let mac = Hmac::<Sha1>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.chain_update(bytes).finalize().into_bytes().into()
    }
}

/// A message that is being written.
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn new(kind: u16, transaction: Transaction) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + 128);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(COOKIE);
        bytes.extend(transaction);
        Self(bytes)
    }

    /// Asks for an address that relays UDP.
    pub(super) fn for_udp(self) -> Self {
        self.with(REQUESTED_TRANSPORT, &UDP)
    }

    /// Asks for so many seconds; 0 gives the address back.
    pub(super) fn for_seconds(self, seconds: u32) -> Self {
        self.with(LIFETIME, &seconds.to_be_bytes())
    }

    pub(super) fn about(self, peer: SocketAddr) -> Self {
        let mask: Vec<u8> = self.0[4..HEADER].to_vec();
        let (family, ip) = match peer.ip() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (2, ip.octets().to_vec()),
        };
        let port = peer.port().to_be_bytes();
        let mut value = vec![0, family, port[0] ^ mask[0], port[1] ^ mask[1]];
        value.extend(ip.iter().zip(&mask).map(|(byte, mask)| byte ^ mask));
        self.with(XOR_PEER_ADDRESS, &value)
    }

    pub(super) fn carrying(self, payload: &[u8]) -> Self {
        self.with(PAYLOAD, payload)
    }

    /// Adds the credential and the proof that its password is known.
    pub(super) fn signed(self, credential: &Credential) -> Self {
        let mut message = self
            .with(USERNAME, credential.username.as_bytes())
            .with(REALM, credential.realm.as_bytes())
            .with(NONCE, &credential.nonce);
        message.announce(INTEGRITY);
        let mac = credential.mac(&message.0);
        message.with(MESSAGE_INTEGRITY, &mac)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len()).expect("no datagram is longer");
        self.0.extend(kind.to_be_bytes());
        self.0.extend(length.to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self.announce(0);
        self
    }

    /// Writes the length of what is there and `more` bytes.
    fn announce(&mut self, more: usize) {
        let length = self.0.len() - HEADER + more;
        let length = u16::try_from(length).expect("no datagram is longer");
        self.0[2..4].copy_from_slice(&length.to_be_bytes());
    }
}

/// A message that came.
pub(super) struct Received<'a> {
    bytes: &'a [u8],
    attributes: Vec<(u16, &'a [u8])>,
}

impl<'a> Received<'a> {
    /// Reads a message; `None` for what is none.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let length = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
        if bytes.get(4..8)? != COOKIE || bytes.len() != HEADER + length {
            return None;
        }
        let mut attributes = Vec::new();
        let mut at = HEADER;
        while at < bytes.len() {
            let head: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
            let kind = u16::from_be_bytes([head[0], head[1]]);
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            attributes.push((kind, bytes.get(at + 4..at + 4 + length)?));
            at += 4 + length.next_multiple_of(4);
        }
        Some(Self { bytes, attributes })
    }

    /// The method and the class.
    pub(super) fn kind(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    pub(super) fn is_of(&self, transaction: &Transaction) -> bool {
        self.bytes[8..HEADER] == *transaction
    }

    /// The code of an error.
    pub(super) fn code(&self) -> Option<u16> {
        let value = self.attribute(ERROR_CODE)?;
        Some(u16::from(*value.get(2)? & 7) * 100 + u16::from(*value.get(3)?))
    }

    pub(super) fn realm(&self) -> Option<&'a str> {
        str::from_utf8(self.attribute(REALM)?).ok()
    }

    pub(super) fn nonce(&self) -> Option<&'a [u8]> {
        self.attribute(NONCE)
    }

    /// Seconds that were granted.
    pub(super) fn lifetime(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.attribute(LIFETIME)?.try_into().ok()?))
    }

    pub(super) fn relayed(&self) -> Option<SocketAddr> {
        self.address(XOR_RELAYED_ADDRESS)
    }

    /// Who sent the payload.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.address(XOR_PEER_ADDRESS)
    }

    pub(super) fn payload(&self) -> Option<&'a [u8]> {
        self.attribute(PAYLOAD)
    }

    fn address(&self, kind: u16) -> Option<SocketAddr> {
        let value = self.attribute(kind)?;
        let mask = &self.bytes[4..HEADER];
        let plain: Vec<u8> = value.get(4..)?.iter().zip(mask).map(|(one, two)| one ^ two).collect();
        let port = u16::from_be_bytes([value[2] ^ mask[0], value[3] ^ mask[1]]);
        let ip: IpAddr = match (value[1], value.len()) {
            (1, 8) => Ipv4Addr::from(<[u8; 4]>::try_from(plain).ok()?).into(),
            (2, 20) => Ipv6Addr::from(<[u8; 16]>::try_from(plain).ok()?).into(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }

    fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        self.attributes.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769, 2.4, the signature of its request with long-term authentication.
    #[test]
    fn a_request_is_signed_as_the_rfc_has_it() {
        let transaction = [0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72, 0xc0, 0x29, 0xda, 0x41, 0x2e];
        let username = "\u{30de}\u{30c8}\u{30ea}\u{30c3}\u{30af}\u{30b9}";
        let nonce = b"f//499k954d6OL34oL9FSTvy64sA";
        let credential = Credential::new(username, "TheMatrIX", "example.org", nonce);
        // There the nonce stands before the realm.
        let mut message = Message::new(0x001, transaction)
            .with(USERNAME, username.as_bytes())
            .with(NONCE, nonce)
            .with(REALM, b"example.org");
        message.announce(INTEGRITY);
        let expected = [
            0xf6, 0x70, 0x24, 0x65, 0x6d, 0xd6, 0x4a, 0x3e, 0x02, 0xb8, 0xe0, 0x71, 0x2e, 0x85,
            0xc9, 0xa2, 0x8c, 0xa8, 0x96, 0x66,
        ];
        assert_eq!(credential.mac(&message.0), expected);
    }

    #[test]
    fn a_message_says_what_was_written() {
        for peer in ["192.0.2.1:32853", "[2001:db8::7]:443"] {
            let peer: SocketAddr = peer.parse().expect("an address");
            let message = Message::new(DATA, [7; 12]).about(peer).carrying(b"hello");
            let received = Received::parse(message.bytes()).expect("a message");
            assert!(received.is_of(&[7; 12]) && !received.is_of(&[8; 12]));
            assert_eq!((received.kind(), received.peer()), (DATA, Some(peer)));
            assert_eq!(received.payload(), Some(&b"hello"[..]));
            assert_eq!((received.relayed(), received.code()), (None, None));
            assert!(Received::parse(&message.bytes()[1..]).is_none());
        }
        let refresh = Message::new(REFRESH, [7; 12]).for_seconds(600);
        assert_eq!(Received::parse(refresh.bytes()).and_then(|r| r.lifetime()), Some(600));
        assert!(Received::parse(b"").is_none());
    }
}
