//! STUN and TURN messages, as much of RFC 8489 and 8656 as a probe speaks. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use zeroize::Zeroizing;

pub(crate) const BINDING: u16 = 0x001;
pub(crate) const ALLOCATE: u16 = 0x003;
pub(crate) const REFRESH: u16 = 0x004;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER: usize = 20;
const SUCCESS: u16 = 0x100;
const ERROR: u16 = 0x110;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const LIFETIME: u16 = 0x000d;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const XOR_RELAYED_ADDRESS: u16 = 0x0016;
const REQUESTED_TRANSPORT: u16 = 0x0019;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// UDP, as REQUESTED-TRANSPORT has it.
const UDP: [u8; 4] = [17, 0, 0, 0];

/// The bytes of an attribute before its value: kind and length.
const ATTRIBUTE_HEAD: usize = 4;

/// The bytes of a MESSAGE-INTEGRITY attribute, its head included.
const INTEGRITY: usize = 24;

/// What a relay says of itself when it asks for a credential.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Challenge {
    pub(crate) realm: String,
    pub(crate) nonce: Vec<u8>,
}

/// The key of a long-term credential: MD5 is what the RFC has both sides use.
pub(crate) struct Key(Zeroizing<[u8; 16]>);

impl Key {
    pub(crate) fn new(username: &str, realm: &str, password: &str) -> Self {
        let mut digest = Md5::new();
        for part in [username, ":", realm, ":", password] {
            digest.update(part);
        }
        Self(Zeroizing::new(digest.finalize().into()))
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha1> {
        let key = self.0.as_slice();
        let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of any length");
        parts.iter().for_each(|part| mac.update(part));
        mac
    }
}

/// A request that is being written.
pub(crate) struct Request(Vec<u8>);

impl Request {
    pub(crate) fn new(method: u16, transaction: [u8; 12]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(method.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(COOKIE);
        bytes.extend(transaction);
        Self(bytes)
    }

    /// An allocation of a UDP address.
    pub(crate) fn allocate(transaction: [u8; 12]) -> Self {
        Self::new(ALLOCATE, transaction).with(REQUESTED_TRANSPORT, &UDP)
    }

    /// The end of an allocation.
    pub(crate) fn release(transaction: [u8; 12]) -> Self {
        Self::new(REFRESH, transaction).with(LIFETIME, &[0; 4])
    }

    /// Adds the credential and the proof that its password is known.
    pub(crate) fn signed(self, username: &str, challenge: &Challenge, key: &Key) -> Self {
        let request = self
            .with(USERNAME, username.as_bytes())
            .with(REALM, challenge.realm.as_bytes())
            .with(NONCE, &challenge.nonce);
        let length = announced(request.0.len() + INTEGRITY);
        let mac = key.mac(&[&request.0[..2], &length, &request.0[4..]]);
        request.with(MESSAGE_INTEGRITY, &mac.finalize().into_bytes())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len()).expect("what a probe says is short");
        self.0.extend(kind.to_be_bytes());
        self.0.extend(length.to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        let length = announced(self.0.len());
        self.0[2..4].copy_from_slice(&length);
        self
    }
}

/// The length field of a message that has `bytes` in all.
fn announced(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes - HEADER).expect("what is checked or written here is short").to_be_bytes()
}

/// What a server answered.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    Success,
    Failure { code: u16, reason: String, challenge: Option<Challenge> },
}

/// An answer as it came, its attributes found.
pub(crate) struct Response<'a> {
    bytes: &'a [u8],
    /// Kind, value, and where the attribute begins.
    attributes: Vec<(u16, &'a [u8], usize)>,
}

impl<'a> Response<'a> {
    /// Reads a message; `None` for what is none, or has more or less than it announces.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let announced = length(bytes)?;
        if bytes.len() != announced {
            return None;
        }
        let mut attributes = Vec::new();
        let mut at = HEADER;
        while at < bytes.len() {
            let head: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
            let kind = u16::from_be_bytes([head[0], head[1]]);
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            attributes.push((kind, bytes.get(at + 4..at + 4 + length)?, at));
            at += 4 + length.next_multiple_of(4);
        }
        Some(Self { bytes, attributes })
    }

    /// What it answers to `method` in this transaction; `None` when it belongs to something else.
    pub(crate) fn answers(&self, method: u16, transaction: &[u8; 12]) -> Option<Answer> {
        if self.bytes[8..HEADER] != *transaction {
            return None;
        }
        let kind = u16::from_be_bytes([self.bytes[0], self.bytes[1]]);
        if kind == method | SUCCESS {
            return Some(Answer::Success);
        }
        if kind != method | ERROR {
            return None;
        }
        let error = self.attribute(ERROR_CODE)?;
        let (class, number) = (*error.get(2)? & 7, *error.get(3)?);
        let code = u16::from(class) * 100 + u16::from(number);
        // The words of a stranger: a few, and only letters.
        let reason = String::from_utf8_lossy(&error[4..]);
        let reason = reason.chars().filter(|c| !c.is_control()).take(60).collect();
        let challenge = self.attribute(REALM).zip(self.attribute(NONCE)).and_then(challenge);
        Some(Answer::Failure { code, reason, challenge })
    }

    /// Whether whoever wrote it knows the key.
    pub(crate) fn is_signed_with(&self, key: &Key) -> bool {
        let signed = self.attributes.iter().find(|(kind, ..)| *kind == MESSAGE_INTEGRITY);
        // One of another length proves nothing, and could end beyond what a length can say.
        let signed = signed.filter(|(_, value, _)| value.len() + ATTRIBUTE_HEAD == INTEGRITY);
        signed.is_some_and(|(_, value, at)| {
            // What follows the attribute is not covered, and not counted in the length.
            let length = announced(at + INTEGRITY);
            let mac = key.mac(&[&self.bytes[..2], &length, &self.bytes[4..*at]]);
            mac.verify_slice(value).is_ok()
        })
    }

    /// Returns the address that is relayed for us.
    pub(crate) fn relayed_address(&self) -> Option<SocketAddr> {
        self.address(XOR_RELAYED_ADDRESS)
    }

    /// Returns the address that we are seen at.
    pub(crate) fn mapped_address(&self) -> Option<SocketAddr> {
        self.address(XOR_MAPPED_ADDRESS)
    }

    /// Reads an address that is hidden from routers under the cookie and the transaction.
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
        self.attributes.iter().find(|(kind, ..)| *kind == wanted).map(|(_, value, _)| *value)
    }
}

fn challenge((realm, nonce): (&[u8], &[u8])) -> Option<Challenge> {
    // The RFC's bounds; more would be echoed back.
    if realm.len() > 763 || nonce.len() > 763 {
        return None;
    }
    Some(Challenge { realm: String::from_utf8(realm.to_vec()).ok()?, nonce: nonce.to_vec() })
}

/// How many bytes the message has that begins with `head`; `None` when none does.
pub(crate) fn length(head: &[u8]) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes([*head.get(2)?, *head.get(3)?]));
    let is_stun = head[0] & 0xc0 == 0 && head.get(4..8)? == COOKIE.as_slice();
    (is_stun && length.is_multiple_of(4) && head.len() >= HEADER).then_some(HEADER + length)
}

/// Answers of a relay, for tests.
#[cfg(test)]
pub(crate) mod answers {
    use super::*;

    /// Refuses with `code`; who is asked for a credential is given a realm and a nonce.
    pub(crate) fn failure(method: u16, transaction: [u8; 12], code: u16) -> Vec<u8> {
        let number = |n: u16| u8::try_from(n).expect("a code of STUN");
        Request::new(method | ERROR, transaction)
            .with(ERROR_CODE, &[0, 0, number(code / 100), number(code % 100), b'x'])
            .with(NONCE, b"n")
            .with(REALM, b"example.org")
            .0
    }

    /// Names `address` as the relayed and the mapped one; signed with `key`.
    pub(crate) fn success(
        method: u16,
        transaction: [u8; 12],
        address: SocketAddr,
        key: &Key,
    ) -> Vec<u8> {
        let answer = Request::new(method | SUCCESS, transaction);
        let mask = answer.0[4..HEADER].to_vec();
        let (family, ip) = match address.ip() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (2, ip.octets().to_vec()),
        };
        let port = address.port().to_be_bytes();
        let mut value = vec![0, family, port[0] ^ mask[0], port[1] ^ mask[1]];
        value.extend(ip.iter().zip(&mask).map(|(one, two)| one ^ two));
        let answer = answer.with(XOR_RELAYED_ADDRESS, &value).with(XOR_MAPPED_ADDRESS, &value);
        let length = announced(answer.0.len() + INTEGRITY);
        let mac = key.mac(&[&answer.0[..2], &length, &answer.0[4..]]);
        answer.with(MESSAGE_INTEGRITY, &mac.finalize().into_bytes()).0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MEMBERS: &str = "the vectors are hexadecimal";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).expect(MEMBERS), 16);
        digits.chunks(2).map(|pair| byte(pair).expect(MEMBERS)).collect()
    }

    /// RFC 5769, 2.4: a request with long-term authentication.
    const LONG_TERM: &str = "
        0001 0060 2112a442 78ad3433c6ad72c029da412e
        0006 0012 e3839ee38388e383aae38383e382afe382b9 0000
        0015 001c 662f2f3439396b393534 64364f4c33346f4c3946535476793634 7341
        0014 000b 6578616d706c652e6f7267 00
        0008 0014 f67024656dd64a3e02b8e0712e85c9a28ca89666";

    /// RFC 5769, 2.2: an answer with an IPv4 address, and a fingerprint behind the signature.
    const ANSWER: &str = "
        0101 003c 2112a442 b7e7a701bc34d686fa87dfae
        8022 000b 7465737420766563746f72 20
        0020 0008 0001a147e112a643
        0008 0014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7
        8028 0004 c07d4c96";

    const TRANSACTION: [u8; 12] =
        [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    #[test]
    fn the_long_term_request_of_the_rfc_is_written_byte_for_byte() {
        // The nonce of the vector, whole; it needs no padding.
        let nonce = b"f//499k954d6OL34oL9FSTvy64sA".to_vec();
        let username = "\u{30de}\u{30c8}\u{30ea}\u{30c3}\u{30af}\u{30b9}";
        let transaction = [0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72, 0xc0, 0x29, 0xda, 0x41, 0x2e];
        let key = Key::new(username, "example.org", "TheMatrIX");
        // There the nonce stands before the realm.
        let request = Request::new(BINDING, transaction)
            .with(USERNAME, username.as_bytes())
            .with(NONCE, &nonce)
            .with(REALM, b"example.org");
        let length = announced(request.0.len() + INTEGRITY);
        let mac = key.mac(&[&request.0[..2], &length, &request.0[4..]]).finalize().into_bytes();
        let written = request.with(MESSAGE_INTEGRITY, &mac);
        assert_eq!(written.bytes(), bytes(LONG_TERM));
        assert!(Response::parse(written.bytes()).expect("a message").is_signed_with(&key));
        let other = Key::new(username, "example.org", "TheMatrix");
        assert!(!Response::parse(written.bytes()).expect("a message").is_signed_with(&other));
    }

    #[test]
    fn the_answer_of_the_rfc_is_read() {
        let vector = bytes(ANSWER);
        let response = Response::parse(&vector).expect("a message");
        assert_eq!(response.answers(BINDING, &TRANSACTION), Some(Answer::Success));
        assert_eq!(response.answers(ALLOCATE, &TRANSACTION), None);
        assert_eq!(response.answers(BINDING, &[0; 12]), None);
        let mapped = SocketAddr::from(([192, 0, 2, 1], 32853));
        assert_eq!((response.mapped_address(), response.relayed_address()), (Some(mapped), None));
        // With a short-term credential the password itself is the key.
        let mac = Hmac::<Sha1>::new_from_slice(b"VOkJxbRl1RmTxUk/WvJxBt").expect("any length");
        let (_, value, at) = response.attributes[2];
        let signed = announced(at + INTEGRITY);
        let mac = mac.chain_update(&vector[..2]).chain_update(signed);
        assert!(mac.chain_update(&vector[4..at]).verify_slice(value).is_ok());
    }

    #[test]
    fn a_refusal_brings_its_code_and_its_challenge() {
        let answer = Request::new(ALLOCATE | ERROR, TRANSACTION)
            .with(ERROR_CODE, b"\0\0\x04\x01Unauthorized\n")
            .with(NONCE, b"n")
            .with(REALM, b"example.org");
        let response = Response::parse(answer.bytes()).expect("a message");
        let challenge = Challenge { realm: "example.org".into(), nonce: b"n".to_vec() };
        let expected = Answer::Failure {
            code: 401,
            reason: "Unauthorized".into(),
            challenge: Some(challenge),
        };
        assert_eq!(response.answers(ALLOCATE, &TRANSACTION), Some(expected));
    }

    #[test]
    fn a_signature_of_another_length_at_the_end_of_the_longest_message_is_none() {
        let filler = vec![0; usize::from(u16::MAX) - 11];
        let longest = Request::new(BINDING | SUCCESS, TRANSACTION)
            .with(0x8022, &filler)
            .with(MESSAGE_INTEGRITY, &[]);
        let response = Response::parse(longest.bytes()).expect("a message");
        assert!(!response.is_signed_with(&Key::new("u", "r", "p")));
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..120), honest: bool,
        ) {
            if honest && bytes.len() >= HEADER {
                bytes.truncate(bytes.len() / 4 * 4);
                let length = announced(bytes.len());
                bytes[0] &= 0x3f;
                bytes[2..4].copy_from_slice(&length);
                bytes[4..8].copy_from_slice(&COOKIE);
            }
            if let Some(response) = Response::parse(&bytes) {
                let transaction: [u8; 12] = bytes[8..HEADER].try_into().expect("twelve");
                let kind = u16::from_be_bytes([bytes[0], bytes[1]]);
                let _ = response.answers(kind & !ERROR, &transaction);
                let _ = response.is_signed_with(&Key::new("u", "r", "p"));
                let _ = (response.mapped_address(), response.relayed_address());
            }
        }
    }
}
