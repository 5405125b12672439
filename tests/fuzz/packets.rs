//! Packets of bytes that count themselves: those that are well formed are made here, since none is
//! by chance.

use arbitrary::{Result, Unstructured};

/// An answer of a relay: the bytes as they are, and as the attributes of a message.
pub(crate) fn stun(data: &[u8]) {
    stream_turn::fuzzing::stun(data);
    stream_turn::fuzzing::stun(&stun_message(&mut Unstructured::new(data)).unwrap_or_default());
}

/// The beginning of a connection from a proxy: the bytes as they are, and as what a header of
/// version 2 holds.
pub(crate) fn proxy_header(data: &[u8]) {
    stream_http::fuzzing::proxy_header(data);
    stream_http::fuzzing::proxy_header(&proxied(&mut Unstructured::new(data)).unwrap_or_default());
}

/// The kinds of RFC 8489 and 8656 that a probe looks for, and some that it does not.
const ATTRIBUTES: [u16; 9] = [0x06, 0x08, 0x09, 0x14, 0x15, 0x16, 0x20, 0x8022, 0x8028];

/// Successes and failures of a binding, an allocation and a refresh, and an indication.
const KINDS: [u16; 7] = [0x101, 0x111, 0x103, 0x113, 0x104, 0x114, 0x017];

fn stun_message(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut message = u.choose(&KINDS)?.to_be_bytes().to_vec();
    message.extend([0, 0, 0x21, 0x12, 0xa4, 0x42]);
    message.extend(u.bytes(12)?);
    while !u.is_empty() {
        let kind = u.choose(&ATTRIBUTES)?.to_be_bytes();
        let length = u.int_in_range(0..=40)?.min(u.len());
        let value = u.bytes(length)?;
        message.extend(kind);
        message.extend((length as u16).to_be_bytes());
        message.extend(value);
        message.resize(message.len().next_multiple_of(4), 0);
    }
    let length = (message.len() - 20) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    Ok(message)
}

fn proxied(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.push(*u.choose(&[0x20, 0x21, 0x21, 0x21, 0x11, 0x22])?);
    header.push(*u.choose(&[0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x41])?);
    // As long as the addresses of a kind, sometimes with more behind them.
    let length = *u.choose(&[0, 12, 36, 216])? + u.int_in_range(0..=8)?;
    header.extend((length as u16).to_be_bytes());
    header.extend(u.bytes(u.len())?);
    Ok(header)
}
