//! What the fuzz targets reach of this crate, and no part of its interface. Every function takes
//! any bytes, and panics when a promise is broken.

use crate::stun::{ALLOCATE, Answer, BINDING, Key, REFRESH, Response, length};
use crate::url::{RelayUrl, is_stun, stun_of};

/// An answer of a relay: it has as many bytes as it announces, belongs to one transaction, is
/// signed by nobody's chance, and what it says in words may be shown.
pub fn stun(bytes: &[u8]) {
    let announced = length(bytes);
    let Some(response) = Response::parse(bytes) else { return };
    assert_eq!(announced, Some(bytes.len()));
    let transaction: [u8; 12] = bytes[8..20].try_into().expect("it has a header");
    for method in [BINDING, ALLOCATE, REFRESH] {
        assert_eq!(response.answers(method, &transaction.map(|byte| !byte)), None);
        if let Some(Answer::Failure { reason, challenge, .. }) =
            response.answers(method, &transaction)
        {
            assert!(reason.chars().count() <= 60 && !reason.contains(char::is_control));
            assert!(challenge.is_none_or(|it| it.realm.len() <= 763 && it.nonce.len() <= 763));
        }
    }
    assert!(!response.is_signed_with(&Key::new("user", "realm", "password")));
    let _ = (response.mapped_address(), response.relayed_address());
}

/// A URL of a relay: its host is one and its port is none that cannot be, and where it answers STUN
/// is a URL of STUN.
pub fn relay_url(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Some(url) = RelayUrl::parse(text) {
        assert!(!url.host.is_empty() && url.port > 0 && text.contains(&url.host));
        assert_eq!(stun_of(text).is_some(), !url.tcp && !url.secure);
    }
    assert!(stun_of(text).is_none_or(|url| is_stun(&url)));
}
