//! JSON that is handed on as it came, and numbers as clients write them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// The deepest nesting of a [`JsonText`] that comes from outside: what common parsers read.
const MAX_NESTING: usize = 100;

/// JSON of others, kept byte for byte: digits, key order, doubled keys and escapes stay as they
/// were written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

/// What is read from an object, and from nothing else: serde would take an array of the members as
/// well.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FromObject<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FromObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = FromObject<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(FromObject)
    }
}

/// The JSON is nested too deeply to be handed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("JSON is nested at most {MAX_NESTING} levels deep")]
pub struct NestingError;

impl JsonText {
    /// Returns the text `null`.
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Returns the text if what reads it can be expected to cope with its nesting.
    ///
    /// # Errors
    ///
    /// Refuses a text that is nested more than 100 levels deep.
    pub fn checked(self) -> Result<Self, NestingError> {
        let (mut depth, mut deepest, mut is_text, mut is_escaped) = (0_usize, 0, false, false);
        for byte in self.as_str().bytes() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if is_text => is_escaped = true,
                b'"' => is_text = !is_text,
                b'{' | b'[' if !is_text => depth += 1,
                b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
                _ => {}
            }
            deepest = deepest.max(depth);
        }
        if deepest > MAX_NESTING { Err(NestingError) } else { Ok(self) }
    }
}

impl Default for JsonText {
    fn default() -> Self {
        Self::null()
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl From<serde_json::Value> for JsonText {
    fn from(value: serde_json::Value) -> Self {
        Self(RawValue::from_string(value.to_string()).expect("a value is JSON"))
    }
}

/// A whole number of at most [`WholeNumber::MAX`] either way, also when it is written with a
/// fraction of zero or an exponent, as clients do whose language divides into floats: `1280`,
/// `1280.0`, `1.28e3`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WholeNumber(pub i64);

impl<'de> Deserialize<'de> for WholeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = WholeNumber;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<WholeNumber, E> {
        if number.unsigned_abs() > WholeNumber::MAX.unsigned_abs() {
            return Err(E::invalid_value(Unexpected::Signed(number), &self));
        }
        Ok(WholeNumber(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<WholeNumber, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<WholeNumber, E> {
        if number.fract() == 0.0 {
            // What is too large for an `i64` becomes the largest one.
            return self.visit_i64(number as i64);
        }
        Err(E::invalid_value(Unexpected::Float(number), &self))
    }
}

impl WholeNumber {
    /// From the next one on, floats do not tell whole numbers apart (RFC 8259, section 6).
    pub const MAX: i64 = 9_007_199_254_740_991;

    /// Returns the number as a `T`.
    ///
    /// # Errors
    ///
    /// Refuses a number that `T` does not hold.
    pub fn into<T: TryFrom<i64>>(self) -> Result<T, T::Error> {
        T::try_from(self.0)
    }

    /// Reads a member that is a `T`, for `#[serde(deserialize_with)]`.
    ///
    /// # Errors
    ///
    /// Refuses what is no whole number, and one that `T` does not hold.
    pub fn deserialize_number<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: TryFrom<i64>,
    {
        let number = Self::deserialize(deserializer)?.into();
        number.map_err(|_| D::Error::custom("a number outside its bounds"))
    }

    /// Reads a member that is a `T`, null or missing, for `#[serde(default, deserialize_with)]`.
    ///
    /// # Errors
    ///
    /// Refuses what is no whole number, and one that `T` does not hold.
    pub fn deserialize_option<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: TryFrom<i64>,
    {
        let number = Option::<Self>::deserialize(deserializer)?.map(Self::into).transpose();
        number.map_err(|_| D::Error::custom("a number outside its bounds"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// JSON that a parser which understands it would change or refuse.
    pub(crate) const STRANGE: [&str; 10] = [
        r#"{"a":1,"$serde_json::private::RawValue":"1"}"#,
        r#"{"$serde_json::private::RawValue":"1"}"#,
        r#"{"$serde_json::private::Number":"1"}"#,
        r#"{"b":1,"a":2,"b":3}"#,
        "117.63331139400017",
        "18446744073709551616",
        "1e2",
        "1.0",
        r#""\u00e4\/\ud83d\ude00""#,
        r#"[{"x" : [ ] }]"#,
    ];

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Holder {
        inner: Inner,
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Inner {
        text: JsonText,
    }

    #[test]
    fn json_of_others_comes_back_byte_for_byte() {
        for strange in STRANGE {
            let holder = format!(r#"{{"inner":{{"text":{strange}}}}}"#);
            let read: Holder = serde_json::from_str(&holder).expect(strange);
            assert_eq!(read.inner.text.as_str(), strange);
            assert_eq!(serde_json::to_string(&read).expect("json"), holder);
            let payload = crate::Versioned::encode(&read);
            let again: Holder = crate::Versioned::decode(&payload).expect(strange);
            assert_eq!(again, read);
        }
    }

    #[test]
    fn nesting_is_bounded_and_brackets_in_a_text_do_not_count() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let checked = |text: &str| {
            let text: JsonText = serde_json::from_str(text).expect("json");
            text.checked().is_ok()
        };
        assert!(checked(&nested(MAX_NESTING)));
        assert!(!checked(&nested(MAX_NESTING + 1)));
        assert!(!checked(&nested(100_000)), "without recursion");
        assert!(checked(&format!(r#""\"{}""#, "[".repeat(1000))));
    }

    #[test]
    fn an_object_is_no_array_of_its_members() {
        let read = |text: &str| serde_json::from_str::<FromObject<Inner>>(text);
        let whole = r#"{"text": {"a": 1.0}}"#;
        let FromObject(inner) = read(whole).unwrap();
        assert_eq!(inner.text.as_str(), r#"{"a": 1.0}"#, "byte for byte");
        assert!(serde_json::from_str::<Inner>("[1]").is_ok(), "what this is for");
        for other in ["[1]", "[]", "1", "null", "\"\""] {
            assert!(read(other).is_err(), "{other}");
        }
    }

    #[test]
    fn whole_numbers_are_read_however_they_are_written() {
        let read = |text: &str| serde_json::from_str::<WholeNumber>(text).ok().map(|one| one.0);
        for text in ["1280", "1280.0", "1.28e3", "12800e-1"] {
            assert_eq!(read(text), Some(1280), "{text}");
        }
        assert_eq!((read("-1.0"), read("0.0")), (Some(-1), Some(0)));
        assert_eq!(read("9007199254740991"), Some(WholeNumber::MAX));
        assert_eq!(read("-9007199254740991"), Some(-WholeNumber::MAX));
        let too_large = ["9007199254740992", "-9007199254740992", "9223372036854775808", "1e16"];
        for text in too_large.into_iter().chain(["1.5", "\"1\"", "true", "18446744073709551616"]) {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
