//! Signals: opaque JSON objects between client and instance, numbered by the log that stores them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::SignalId;

/// The largest signal that is relayed, in bytes of JSON text.
pub const MAX_SIGNAL_BYTES: usize = 256 * 1024;

/// Which way a signal travels.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    ToClient,
    ToInstance,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToClient => "to_client",
            Self::ToInstance => "to_instance",
        })
    }
}

/// Why a text is not a signal.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    #[error("a signal is a JSON object with a string member \"type\"")]
    NotASignal(#[source] serde_json::Error),
    #[error("a signal has at most {MAX_SIGNAL_BYTES} bytes")]
    TooLarge,
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    kind: String,
}

/// One signal: a JSON object with a string member `type`, relayed without being understood and
/// byte for byte as it was written.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Signal(Box<RawValue>);

impl Signal {
    /// Reads a signal and keeps its bytes.
    ///
    /// # Errors
    ///
    /// Refuses anything but a JSON object with a string member `type`, and more than
    /// [`MAX_SIGNAL_BYTES`].
    pub fn parse(text: String) -> Result<Self, SignalError> {
        let raw = RawValue::from_string(text).map_err(SignalError::NotASignal)?;
        Self::check(raw)
    }

    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Whether this is the answer to an offer.
    pub fn is_answer(&self) -> bool {
        self.kind().is_some_and(|kind| kind == "answer")
    }

    /// Returns what the signal calls itself.
    pub fn kind(&self) -> Option<String> {
        Some(serde_json::from_str::<Typed>(self.as_str()).ok()?.kind)
    }

    /// Returns what a signal of the type `error` says; nothing for any other.
    pub fn error(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Failure {
            #[serde(rename = "type")]
            kind: String,
            #[serde(default)]
            message: String,
        }
        let failure = serde_json::from_str::<Failure>(self.as_str()).ok()?;
        (failure.kind == "error").then_some(failure.message)
    }

    /// Returns the description that the signal carries, which is written in Base64.
    pub fn sdp(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Description {
            sdp: String,
        }
        let description = serde_json::from_str::<Description>(self.as_str()).ok()?;
        Some(description.sdp)
    }

    fn check(raw: Box<RawValue>) -> Result<Self, SignalError> {
        if raw.get().len() > MAX_SIGNAL_BYTES {
            return Err(SignalError::TooLarge);
        }
        // serde would also read a struct from an array.
        if !raw.get().trim_start().starts_with('{') {
            let error = serde::de::Error::custom("not an object");
            return Err(SignalError::NotASignal(error));
        }
        serde_json::from_str::<Typed>(raw.get()).map_err(SignalError::NotASignal)?;
        Ok(Self(raw))
    }
}

impl<'de> Deserialize<'de> for Signal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::check(raw).map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Signal {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Signal".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": format!("Relayed as it is; at most {MAX_SIGNAL_BYTES} bytes of JSON"),
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"type": "string"}},
        })
    }
}

impl PartialEq for Signal {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// A signal as a writer hands it in. The writer's id makes a repeated write harmless.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NewSignal {
    pub id: SignalId,
    pub generation: u64,
    pub signal: Signal,
}

/// A signal as the log stores it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StoredSignal {
    pub generation: u64,
    pub signal: Signal,
    /// No signal of the same subject lies between this sequence and the one that the signal was
    /// given; none when its writer could not know, since others wrote at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<u64>,
}

/// A signal as a reader gets it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LoggedSignal {
    pub cursor: Cursor,
    pub generation: u64,
    pub signal: Signal,
}

/// The signals after a reader's cursor, and the cursor to ask with next. The cursor moves forward
/// even when there is nothing to read.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SignalPage {
    pub cursor: Cursor,
    pub signals: Vec<LoggedSignal>,
}

/// A position in the log. Opaque: its holder keeps it and hands it back.
///
/// It reads `<epoch>-<sequence>`; the epoch is the log's creation time in nanoseconds, base 36. See
/// [cursors](crate::manual::state#cursor-and-epoch).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(extend("pattern" = format!("^{}$", Self::PATTERN)))
)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    pub epoch: u64,
    pub sequence: u64,
}

impl Cursor {
    /// What the whole text of one looks like, as a regular expression without anchors.
    pub const PATTERN: &'static str = "[0-9A-Za-z]{1,12}-[0-9]{1,19}";
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", base36(self.epoch), self.sequence)
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (epoch, sequence) = text.split_once('-').ok_or(CursorError)?;
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
        if !digits(epoch) || !digits(sequence) {
            return Err(CursorError);
        }
        Ok(Self {
            epoch: u64::from_str_radix(epoch, 36).map_err(|_| CursorError)?,
            sequence: sequence.parse().map_err(|_| CursorError)?,
        })
    }
}

impl TryFrom<String> for Cursor {
    type Error = CursorError;

    fn try_from(text: String) -> Result<Self, CursorError> {
        text.parse()
    }
}

/// A text is not a cursor.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a cursor that this service gave out")]
pub struct CursorError;

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = char::from_digit((number % 36) as u32, 36).expect("a remainder of 36");
        digits.push(digit);
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_signal_keeps_its_bytes() {
        let text = r#"{ "sdp":"dj0w",  "type":"offer" }"#;
        let signal = Signal::parse(text.to_owned()).expect("a signal");
        assert_eq!(signal.as_str(), text);
        let stored =
            serde_json::to_string(&StoredSignal { generation: 3, signal, previous: None }).unwrap();
        assert!(stored.contains(text));
    }

    #[test]
    fn what_has_no_string_type_is_no_signal() {
        for text in ["", "7", "[]", r#"["offer"]"#, "{}", r#"{"type":7}"#, r#"{"type":"x""#] {
            assert!(Signal::parse(text.to_owned()).is_err(), "{text} passed");
        }
    }

    #[test]
    fn a_signal_over_the_limit_is_refused() {
        let text = format!(r#"{{"type":"x","pad":"{}"}}"#, "a".repeat(MAX_SIGNAL_BYTES));
        assert!(matches!(Signal::parse(text), Err(SignalError::TooLarge)));
    }

    proptest! {
        #[test]
        fn a_cursor_survives_its_text(epoch: u64, sequence: u64) {
            let cursor = Cursor { epoch, sequence };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn no_text_makes_the_cursor_parser_panic(text: String) {
            let _ = text.parse::<Cursor>();
        }
    }
}
