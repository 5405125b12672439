//! What the fuzz targets reach of this crate, and no part of its interface. Every function takes
//! any bytes, and panics when a promise is broken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::auth::{MAX_TOKEN_BYTES, authorization};
use crate::body::content_length;
use crate::client_address::forwarded;
use crate::idempotency::{MAX_IDEMPOTENCY_KEY, idempotency_key};
use crate::limits::{HttpConfig, Network};
use crate::proxy_header::{Origin, read_header};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The beginning of a connection from a proxy: no more is taken than the header has, and a client
/// has the address that stands there.
pub fn proxy_header(bytes: &[u8]) {
    let mut rest = bytes;
    let read = {
        let reading = pin!(read_header(&mut rest));
        match reading.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(read) => read,
            Poll::Pending => panic!("all bytes are there"),
        }
    };
    let (header, _) = bytes.split_at(bytes.len() - rest.len());
    let Ok(origin) = read else { return };
    assert!(header.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
    let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
    assert_eq!(header.len(), 16 + length);
    let client: IpAddr = match (header[12], header[13] >> 4) {
        (0x20, _) => return assert_eq!(origin, Origin::Proxy),
        (0x21, 1) => <[u8; 4]>::try_from(&header[16..20]).map(Ipv4Addr::from).map(IpAddr::from),
        (0x21, 2) => <[u8; 16]>::try_from(&header[16..32]).map(Ipv6Addr::from).map(IpAddr::from),
        _ => panic!("a header of another kind was taken"),
    }
    .expect("there is an address");
    assert_eq!(origin, Origin::Client(client));
}

/// The headers of a request, one a line: a token comes from the only header that may hold one, a
/// key for repetitions is short, and nobody but a trusted proxy says whose request it is.
pub fn headers(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    if let Ok(Some(token)) = authorization(&headers) {
        assert!((1..=MAX_TOKEN_BYTES).contains(&token.len()));
        let values: Vec<_> = headers.get_all(AUTHORIZATION).collect();
        assert!(values.len() == 1 && values[0].to_str().is_ok_and(|text| text.contains(token)));
    }
    if let Ok(Some(key)) = idempotency_key(&headers) {
        assert!((1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) && key.is_ascii());
    }
    let _ = content_length(&headers);
    let network = |text: &str| Network::try_from(text.to_owned()).expect("a network");
    let trusted_proxies = ["10.0.0.0/8", "fd00::/8"].map(network).to_vec();
    let mut http = HttpConfig { trusted_proxies, ..HttpConfig::default() };
    assert_eq!(forwarded(STRANGER, &headers, &http), STRANGER);
    let client = forwarded(PROXY, &headers, &http);
    assert!(client == PROXY || headers.contains_key("x-forwarded-for"));
    assert_eq!(client, client.to_canonical());
    http.proxy_protocol = true;
    assert_eq!(forwarded(PROXY, &headers, &http), PROXY);
}
