//! What a holder of tokens can do with the crate, and what nobody can.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use stream_macaroon::{Key, MAX_CAVEATS, MAX_TEXT, Macaroon, MacaroonError};

/// Computed apart from this code, with Python's `hmac` and `hashlib`, over a root key of the bytes
/// 0 to 63, location and identifier as below and two caveats:
/// `k = HMAC("macaroons-key-generator", root)`, `s = HMAC(k, identifier)`, `s = HMAC(s, caveat)`
/// for each; then the fields of format 2 in order. The second caveat is longer than 127 bytes, so
/// that its length takes two of them. The Go library, at 2.1.0, writes the same text.
const KNOWN: &str = "\
    AgESYW5ib3gtc3RyZWFtLWFnZW50AiExLmsxLkFBQUFBQUFBQUFBQUFBQUEuaW5zdGFuY2UuczEAAiB0aW1lLWJlZm\
    9yZSAyMDMwLTAxLTAxVDAwOjAwOjAwWgACgwFhbGxvdyBzaWduYWwucmVhZCBzaWduYWwud3JpdGUgeHh4eHh4eHh4\
    eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eH\
    h4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eAAABiACuzqFPHQy9WF91PKhLGmpyXnMwEPsiFS0v2X-_35HAQ";

fn root_key() -> Vec<u8> {
    (0..64).collect()
}

fn key(root_key: &[u8]) -> Key {
    Key::derive(root_key)
}

fn known() -> Macaroon {
    let mut macaroon =
        Macaroon::new(&key(&root_key()), "anbox-stream-agent", "1.k1.AAAAAAAAAAAAAAAA.instance.s1");
    macaroon.add_first_party("time-before 2030-01-01T00:00:00Z");
    macaroon.add_first_party(&format!("allow signal.read signal.write {}", "x".repeat(100)));
    macaroon
}

#[test]
fn a_known_macaroon_is_written_and_read_to_the_byte() {
    assert_eq!(known().encode(), KNOWN);

    let read = Macaroon::decode(KNOWN).unwrap();
    assert_eq!(read.location(), "anbox-stream-agent");
    assert_eq!(read.identifier(), "1.k1.AAAAAAAAAAAAAAAA.instance.s1");
    assert_eq!(read.caveats().len(), 2);
    assert_eq!(read.caveats()[0], "time-before 2030-01-01T00:00:00Z");
    assert_eq!(read.verify(&key(&root_key())), Ok(()));
}

#[test]
fn another_key_does_not_verify() {
    for other in [&b""[..], &root_key()[..63], &[0; 64]] {
        assert_eq!(known().verify(&key(other)), Err(MacaroonError::Signature));
    }
}

#[test]
fn a_holder_narrows_without_the_key() {
    let mut held = Macaroon::decode(KNOWN).unwrap();
    held.add_first_party("allow signal.read");
    let narrowed = Macaroon::decode(&held.encode()).unwrap();
    assert_eq!(narrowed.caveats().len(), 3);
    assert_eq!(narrowed.verify(&key(&root_key())), Ok(()));
}

#[test]
fn both_alphabets_are_read_padded_or_not() {
    let standard = KNOWN.replace('-', "+").replace('_', "/");
    assert_ne!(standard, KNOWN);
    for text in [KNOWN, &standard, &format!("{KNOWN}=="), &format!("{standard}==")] {
        assert_eq!(Macaroon::decode(text).unwrap().encode(), KNOWN);
    }
}

#[test]
fn loose_base64_is_refused() {
    let mixed = KNOWN.replace('-', "+");
    let stray_bits = format!("{}R", &KNOWN[..KNOWN.len() - 1]);
    for text in [
        &mixed,
        &stray_bits,
        &format!("{KNOWN}="),
        &format!("{KNOWN}==="),
        &format!("{KNOWN}\n"),
        &format!(" {KNOWN}"),
        &format!("{KNOWN}é"),
        "=",
    ] {
        assert_eq!(Macaroon::decode(text).unwrap_err(), MacaroonError::Base64, "{text:?}");
    }
}

#[test]
fn size_is_bounded_in_text_and_in_caveats() {
    let mut macaroon = Macaroon::new(&key(b"k"), "l", "i");
    for _ in 0..MAX_CAVEATS {
        macaroon.add_first_party("c");
    }
    assert_eq!(Macaroon::decode(&macaroon.encode()).unwrap().verify(&key(b"k")), Ok(()));
    macaroon.add_first_party("c");
    let refused = Macaroon::decode(&macaroon.encode()).unwrap_err();
    assert_eq!(refused, MacaroonError::TooManyCaveats);

    // 3,072 bytes are 4,096 characters; this one has 3,029 of identifier and 43 around it.
    let full = Macaroon::new(&key(b"k"), "l", &"i".repeat(3029)).encode();
    assert_eq!(full.len(), MAX_TEXT);
    assert_eq!(Macaroon::decode(&full).unwrap().verify(&key(b"k")), Ok(()));
    let over = Macaroon::new(&key(b"k"), "l", &"i".repeat(3030)).encode();
    assert_eq!(Macaroon::decode(&over).unwrap_err(), MacaroonError::TooLong);
}

#[test]
fn the_signature_is_not_in_the_debug_output() {
    let shown = format!("{:?}", known());
    assert!(shown.ends_with("signature: \"[redacted]\" }"), "{shown}");
    // The first bytes of the signature, as a derived implementation would print them.
    assert!(!shown.contains("2, 187, 58"), "{shown}");
    assert_eq!(format!("{:?}", key(b"k")), "Key([redacted])");
}

fn any_macaroon() -> impl Strategy<Value = (Key, Macaroon)> {
    // Within 4 KiB at the worst: 40 characters can be 160 bytes.
    let caveats = prop::collection::vec(".{0,40}", 0..8);
    (any::<Vec<u8>>(), ".{0,40}", ".{0,200}", caveats).prop_map(
        |(root_key, location, identifier, caveats)| {
            let key = key(&root_key);
            let mut macaroon = Macaroon::new(&key, &location, &identifier);
            for caveat in &caveats {
                macaroon.add_first_party(caveat);
            }
            (key, macaroon)
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back((key, macaroon) in any_macaroon()) {
        let read = Macaroon::decode(&macaroon.encode()).unwrap();
        prop_assert_eq!(read.location(), macaroon.location());
        prop_assert_eq!(read.identifier(), macaroon.identifier());
        prop_assert_eq!(read.caveats(), macaroon.caveats());
        prop_assert_eq!(read.encode(), macaroon.encode());
        prop_assert_eq!(read.verify(&key), Ok(()));
    }

    #[test]
    fn no_text_panics_and_what_is_read_has_one_form(text in "[A-Za-z0-9_=+/-]{0,200}") {
        if let Ok(macaroon) = Macaroon::decode(&text) {
            prop_assert_eq!(
                macaroon.encode(),
                text.trim_end_matches('=').replace('+', "-").replace('/', "_"),
            );
        }
    }

    #[test]
    fn no_text_at_all_panics(text: String) {
        let _ = Macaroon::decode(&text);
    }
}

#[test]
fn a_flipped_bit_of_the_text_is_refused() {
    for at in 0..KNOWN.len() {
        for bit in 0..7 {
            let mut bytes = KNOWN.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            let text = String::from_utf8(bytes).unwrap();
            let refused = is_refused(&text);
            assert!(refused, "bit {bit} of character {at}");
        }
    }
}

#[test]
fn a_flipped_bit_of_the_bytes_is_refused_unless_it_is_in_the_location() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let location = 3..21;
    let known = URL_SAFE_NO_PAD.decode(KNOWN).unwrap();
    assert_eq!(&known[location.clone()], b"anbox-stream-agent");
    for at in (0..known.len()).filter(|at| !location.contains(at)) {
        for bit in 0..8 {
            let mut bytes = known.clone();
            bytes[at] ^= 1 << bit;
            assert!(is_refused(&URL_SAFE_NO_PAD.encode(bytes)), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn every_beginning_is_refused() {
    for end in 0..KNOWN.len() {
        assert!(is_refused(&KNOWN[..end]), "the first {end} characters");
    }
}

/// As a service does: what it reads must be signed, and be meant for it.
fn is_refused(text: &str) -> bool {
    Macaroon::decode(text).map_or(true, |macaroon| {
        macaroon.verify(&key(&root_key())).is_err() || macaroon.location() != "anbox-stream-agent"
    })
}
