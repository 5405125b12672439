//! The chain: each line has a code over itself and over the code of the line before it, so that
//! none can be removed, changed or moved without the key.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use stream_pki::MacKey;

/// What comes before the code of a line, as its last member.
const MEMBER: &str = ",\"mac\":\"";

/// What comes behind it.
const END: &str = "\"}";

/// The code of a line, which stands for all lines up to it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mac([u8; 32]);

impl Mac {
    /// The code that the first line of all counts as the one before it.
    pub const NONE: Self = Self([0; 32]);

    /// Reads the 64 hexadecimal digits that [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("no code of a line"))
    }
}

/// The last line of a log, or any: its number and its code.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Head {
    pub seq: u64,
    pub mac: Mac,
}

/// Returns the line that says `content`, a JSON object, behind the line whose code is `before`; and
/// its code.
pub(crate) fn line(key: &MacKey, before: Mac, content: &str) -> (String, Mac) {
    let open = content.strip_suffix('}').unwrap_or(content);
    let mac = code(key, before, open);
    (format!("{open}{MEMBER}{mac}{END}\n"), mac)
}

/// A line, taken apart. Whether it is true is not known yet.
pub(crate) struct Line<'a> {
    open: &'a str,
    pub(crate) head: Head,
    pub(crate) entry: Known,
}

/// What the log itself reads in its lines.
#[derive(Debug, Deserialize)]
pub(crate) struct Known {
    seq: u64,
    #[serde(default)]
    pub(crate) what: String,
    /// Of the line at the beginning of a file: the code of the one before it.
    pub(crate) prev: Option<Mac>,
    /// Of that line too: who writes the file.
    pub(crate) unit: Option<String>,
    /// What was torn before this line.
    pub(crate) torn: Option<Torn>,
    /// Where NATS says that the log has been.
    pub(crate) head: Option<Head>,
}

/// Bytes that are no line: a process ended while it wrote them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Torn {
    pub(crate) bytes: usize,
    pub(crate) sha256: Mac,
}

impl Torn {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len(), sha256: Mac(stream_pki::sha256(bytes)) }
    }
}

impl<'a> Line<'a> {
    /// Takes `text`, without its end of line, apart; `None` for what is no line.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?;
        let (open, mac) = text.strip_suffix(END)?.rsplit_once(MEMBER)?;
        let entry = serde_json::from_str::<Known>(text).ok()?;
        let head = Head { seq: entry.seq, mac: Mac::parse(mac)? };
        Some(Self { open, head, entry })
    }

    /// Whether the line stands behind the one whose code is `before`, as it was written.
    pub(crate) fn follows(&self, key: &MacKey, before: Mac) -> bool {
        code(key, before, self.open) == self.head.mac
    }
}

fn code(key: &MacKey, before: Mac, open: &str) -> Mac {
    Mac(key.sign(&[&before.0, open.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> MacKey {
        MacKey::derive(b"a secret", "a test")
    }

    #[test]
    fn a_line_is_taken_apart_as_it_was_put_together() {
        let (text, mac) = line(&key(), Mac::NONE, r#"{"seq":7,"what":"a \"mac\":\"","torn":null}"#);
        let parsed = Line::parse(text.trim_end().as_bytes()).expect("a line");
        assert_eq!(parsed.head, Head { seq: 7, mac });
        assert_eq!(parsed.entry.what, "a \"mac\":\"");
        assert!(parsed.follows(&key(), Mac::NONE));
        assert!(!parsed.follows(&key(), mac), "behind another line");
        assert!(!parsed.follows(&MacKey::derive(b"a secret", "other"), Mac::NONE));
        assert_eq!(Mac::parse(&mac.to_string()), Some(mac));
    }

    #[test]
    fn what_is_no_line_is_none() {
        let (text, _) = line(&key(), Mac::NONE, r#"{"seq":7}"#);
        let text = text.trim_end();
        for wrong in ["", "{}", &text[1..], &text[..text.len() - 1], &text.replace("mac", "Mac")] {
            assert!(Line::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
        assert!(Line::parse(&[0xff]).is_none());
    }
}
