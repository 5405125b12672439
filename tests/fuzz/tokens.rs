//! Tokens, from their bytes to what their caveats mean.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use stream_macaroon::{Key, Macaroon};
use stream_tokens::{attenuate, explain};

/// What is read as a macaroon is written in one way, whatever alphabet it came in.
pub(crate) fn macaroon_text(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(macaroon) = Macaroon::decode(text) else { return };
    let plain = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    assert_eq!(macaroon.encode(), plain);
}

/// What is read from bytes is written as the same bytes, and holds nobody's signature by chance.
pub(crate) fn macaroon_bytes(data: &[u8]) {
    let text = URL_SAFE_NO_PAD.encode(data);
    let Ok(macaroon) = Macaroon::decode(&text) else { return };
    assert_eq!(macaroon.encode(), text);
    assert!(macaroon.verify(&Key::derive(data)).is_err());
}

/// Lines of caveats: those that are taken are in the token, in order, and are understood.
pub(crate) fn caveats(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let lines: Vec<_> = text.lines().collect();
    let token = Macaroon::new(&Key::derive(b""), "", "").encode();
    let Ok(narrowed) = attenuate(&token, &lines) else { return };
    let explained = explain(&narrowed);
    assert_eq!(explained.caveats, lines);
    let times =
        lines.iter().any(|line| !line.starts_with("allow ") && !line.starts_with("declared "));
    assert!(explained.expires_at.is_some() == times);
}

/// An identifier that is read is made of its parts again.
pub(crate) fn identifier(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let explained = explain(&Macaroon::new(&Key::derive(b""), "", text).encode());
    let parts = (&explained.kid, &explained.id, &explained.kind, &explained.subject);
    if let (Some(kid), Some(id), Some(kind), Some(subject)) = parts {
        assert_eq!(format!("1.{kid}.{id}.{kind}.{subject}"), text);
    }
}
