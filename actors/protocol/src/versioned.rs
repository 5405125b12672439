use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::unknown_members::carry_over;
use crate::{Refusal, RefusalCode};

/// The major version of every payload that our programs exchange.
pub const VERSION: u32 = 1;

/// Wraps a payload with the version it is written in; members of the payload stand beside `v`.
#[derive(Debug, Serialize)]
pub struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    body: T,
}

#[derive(Deserialize)]
struct Major {
    v: u32,
}

impl<T: Serialize> Versioned<T> {
    /// Returns the JSON text of `body`, marked with [`VERSION`].
    pub fn encode(body: T) -> Vec<u8> {
        serde_json::to_vec(&Self { v: VERSION, body }).expect("wire types serialize")
    }

    /// Returns the JSON text of `after`, which an edit made of `before`, as it was read from
    /// `stored`. Members that a newer version has written there stay, at every depth.
    pub fn encode_over(stored: &[u8], before: &T, after: &T) -> Vec<u8> {
        let (before, after) = (Versioned::encode(before), Versioned::encode(after));
        carry_over(stored, &before, &after).unwrap_or(after)
    }
}

impl<T: DeserializeOwned> Versioned<T> {
    /// Reads a payload and ignores members that it does not know.
    ///
    /// # Errors
    ///
    /// Refuses text that is no such payload, and a newer major version by name.
    pub fn decode(bytes: &[u8]) -> Result<T, Refusal> {
        let Major { v } = serde_json::from_slice(bytes).map_err(|error| {
            Refusal::new(RefusalCode::Malformed, format!("not a payload: {error}"))
        })?;
        if v > VERSION {
            let text = format!("payload version {v} is newer than {VERSION}: upgrade this unit");
            return Err(Refusal::new(RefusalCode::UnknownVersion, text));
        }
        serde_json::from_slice(bytes).map_err(|error| {
            Refusal::new(RefusalCode::Malformed, format!("not such a payload: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Terminate;

    #[test]
    fn a_payload_survives_the_wire_and_unknown_members_are_ignored() {
        let bytes = Versioned::encode(Terminate { cause: "asked".into() });
        assert_eq!(bytes, br#"{"v":1,"cause":"asked"}"#);
        let later = br#"{"v":1,"cause":"asked","colour":"blue"}"#;
        let read: Terminate = Versioned::decode(later).expect("unknown members are fine");
        assert_eq!(read.cause, "asked");
    }

    #[test]
    fn an_edit_keeps_the_members_of_a_newer_version() {
        let stored = br#"{"v":1,"cause":"asked","colour":"blue"}"#;
        let read: Terminate = Versioned::decode(stored).expect("readable");
        let edited = Terminate { cause: "again".into() };
        let written = Versioned::encode_over(stored, &read, &edited);
        let expected = r#"{"cause":"again","colour":"blue","v":1}"#;
        assert_eq!(String::from_utf8_lossy(&written), expected);
        let known = Versioned::encode(&read);
        assert_eq!(Versioned::encode_over(&known, &read, &edited), Versioned::encode(&edited));
    }

    #[test]
    fn a_newer_major_version_is_refused_by_name() {
        let refusal = Versioned::<Terminate>::decode(br#"{"v":2,"cause":"x"}"#).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::UnknownVersion);
        let refusal = Versioned::<Terminate>::decode(b"[").unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Malformed);
    }
}
