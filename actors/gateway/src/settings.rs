//! What operators may change of the configuration while gateways run: a closed list. Pure.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use stream_http::without_byte_order_mark;
use stream_protocol::{FromObject, Refusal};

use crate::error::bad_request;

/// The longest name that a refusal repeats.
const MAX_NAME: usize = 64;

/// What may be changed, with the values that hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How long a joinable session waits for clients unless its request says, in minutes; 0 is for
    /// ever.
    pub idle_time_min: u32,
    /// The most shares of a session.
    pub shares_per_session: u32,
    /// The life of a share whose request says nothing of it, in hours.
    pub share_expiry_h: u32,
    /// Requests a second that one token may make on the average.
    pub requests_per_second: u32,
}

/// An item of [`Settings`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Item {
    RequestsPerSecond,
    IdleTime,
    ShareExpiry,
    SharesPerSession,
}

impl Item {
    pub(crate) const ALL: [Self; 4] =
        [Self::RequestsPerSecond, Self::IdleTime, Self::ShareExpiry, Self::SharesPerSession];

    /// Returns the name by which it is read and changed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests_per_second",
            Self::IdleTime => "session.idle_time_min",
            Self::ShareExpiry => "share.expiry_h",
            Self::SharesPerSession => "share.per_session",
        }
    }

    /// Returns its key in the section `[gateway]`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests_per_second",
            Self::IdleTime => "idle_time_min",
            Self::ShareExpiry => "share_expiry_h",
            Self::SharesPerSession => "shares_per_session",
        }
    }

    /// Returns the values that it may have, wherever they are written.
    pub(crate) fn range(self) -> RangeInclusive<u32> {
        match self {
            Self::RequestsPerSecond => 1..=1_000_000,
            // A week.
            Self::IdleTime => 0..=7 * 24 * 60,
            // No share lasts longer than 30 days.
            Self::ShareExpiry => 1..=30 * 24,
            Self::SharesPerSession => 1..=100,
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|item| item.name() == name)
    }

    fn parse(self, value: &str) -> Option<u32> {
        let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
        value.parse().ok().filter(|value| is_number && self.range().contains(value))
    }
}

impl Settings {
    pub(crate) fn get(self, item: Item) -> u32 {
        match item {
            Item::RequestsPerSecond => self.requests_per_second,
            Item::IdleTime => self.idle_time_min,
            Item::ShareExpiry => self.share_expiry_h,
            Item::SharesPerSession => self.shares_per_session,
        }
    }

    fn set(&mut self, item: Item, value: u32) {
        *match item {
            Item::RequestsPerSecond => &mut self.requests_per_second,
            Item::IdleTime => &mut self.idle_time_min,
            Item::ShareExpiry => &mut self.share_expiry_h,
            Item::SharesPerSession => &mut self.shares_per_session,
        } = value;
    }

    /// Returns all items by name, as texts.
    pub(crate) fn items(self) -> BTreeMap<&'static str, String> {
        Item::ALL.into_iter().map(|item| (item.name(), self.get(item).to_string())).collect()
    }
}

/// The record of what operators have changed, by the names of the items. What a later version has
/// written beside them stays.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Overrides {
    items: BTreeMap<String, String>,
}

impl Overrides {
    /// Returns the values that hold over those of `file`. One that no item can have does not count.
    pub(crate) fn over(&self, mut file: Settings) -> Settings {
        for item in Item::ALL {
            let value = self.items.get(item.name()).and_then(|value| item.parse(value));
            if let Some(value) = value {
                file.set(item, value);
            }
        }
        file
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        let name = change.item.name().to_owned();
        match change.value {
            Some(value) => drop(self.items.insert(name, value.to_string())),
            None => drop(self.items.remove(&name)),
        }
    }
}

/// The change of an item that a request asks for, as it writes it.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ConfigPatch {
    /// Of the item.
    name: String,
    /// A whole number as a text; empty for the value of the gateways' configuration files.
    value: String,
}

/// The change of an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) item: Item,
    /// `None` takes the override away.
    pub(crate) value: Option<u32>,
}

impl Change {
    /// Reads the body of a request and ignores members it does not know.
    ///
    /// # Errors
    ///
    /// Refuses what is no item, and a value that the item cannot have.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let patch = serde_json::from_slice(without_byte_order_mark(body));
        let FromObject(ConfigPatch { name, value }) =
            patch.map_err(|_| bad_request(r#"the body is {"name":TEXT,"value":TEXT}"#))?;
        let Some(item) = Item::named(&name) else {
            return Err(bad_request(format!("{} is set in gateway.toml", shown(&name))));
        };
        if value.is_empty() {
            return Ok(Self { item, value: None });
        }
        let number = item.parse(&value).ok_or_else(|| {
            let (name, range) = (item.name(), item.range());
            let (least, most) = (range.start(), range.end());
            bad_request(format!(
                "{name} is a whole number from {least} to {most}, or empty for that of gateway.toml"
            ))
        })?;
        Ok(Self { item, value: Some(number) })
    }
}

/// Returns a name that may be anything as a refusal repeats it.
fn shown(name: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain) {
        true => name,
        false => "what has such a name",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Settings = Settings {
        idle_time_min: 30,
        shares_per_session: 5,
        share_expiry_h: 12,
        requests_per_second: 50,
    };

    fn change(name: &str, value: &str) -> Result<Change, String> {
        let body = serde_json::json!({ "name": name, "value": value, "unknown": 1 });
        Change::parse(body.to_string().as_bytes()).map_err(|refusal| refusal.message)
    }

    #[test]
    fn what_operators_have_changed_holds_over_the_file_until_it_is_taken_back() {
        let mut overrides = Overrides::default();
        assert_eq!(overrides.over(FILE), FILE);
        for (name, value) in [("share.per_session", "1"), ("session.idle_time_min", "0")] {
            overrides.apply(&change(name, value).unwrap());
        }
        let expected = Settings { shares_per_session: 1, idle_time_min: 0, ..FILE };
        assert_eq!(overrides.over(FILE), expected);
        let items: Vec<_> = overrides.over(FILE).items().into_iter().collect();
        let expected = [
            ("requests_per_second", "50"),
            ("session.idle_time_min", "0"),
            ("share.expiry_h", "12"),
            ("share.per_session", "1"),
        ];
        assert_eq!(items, expected.map(|(name, value)| (name, value.to_owned())));
        overrides.apply(&change("share.per_session", "").unwrap());
        overrides.apply(&change("session.idle_time_min", "").unwrap());
        assert_eq!(overrides, Overrides::default());
    }

    #[test]
    fn a_value_is_a_number_within_the_range_that_is_named() {
        for item in Item::ALL {
            let (name, range) = (item.name(), item.range());
            for value in [*range.start(), *range.end()] {
                let changed = change(name, &value.to_string());
                assert_eq!(changed, Ok(Change { item, value: Some(value) }), "{name}");
            }
            let beyond = (u64::from(*range.end()) + 1).to_string();
            for wrong in [beyond.as_str(), "-1", "+5", " 5", "5.0", "five", "99999999999999999999"]
            {
                let why = change(name, wrong).unwrap_err();
                let expected = format!("from {} to {}", range.start(), range.end());
                assert!(why.starts_with(name) && why.contains(&expected), "{wrong}: {why}");
            }
        }
    }

    #[test]
    fn everything_else_is_set_in_the_file() {
        for name in ["public_url", "tls.key", "nobody-knows"] {
            assert_eq!(change(name, "1").unwrap_err(), format!("{name} is set in gateway.toml"));
        }
        for name in ["", "a b", "<script>", &"n".repeat(65)] {
            let why = change(name, "1").unwrap_err();
            assert_eq!(why, "what has such a name is set in gateway.toml");
        }
        for body in ["", "[]", "{}", r#"{"name":"share.per_session"}"#] {
            assert!(Change::parse(body.as_bytes()).is_err(), "{body} passed");
        }
        let number = r#"{"name":"share.per_session","value":5}"#;
        assert!(Change::parse(number.as_bytes()).is_err(), "a value is a text");
        let marked = "\u{feff}{\"name\":\"share.per_session\",\"value\":\"5\"}";
        assert!(Change::parse(marked.as_bytes()).is_ok(), "with a byte order mark");
    }

    #[test]
    fn a_record_of_another_version_counts_as_far_as_it_is_understood() {
        let record = r#"{"items":{"share.per_session":"7","share.expiry_h":"0","later":"x"}}"#;
        let overrides: Overrides = serde_json::from_str(record).unwrap();
        assert_eq!(overrides.over(FILE), Settings { shares_per_session: 7, ..FILE });
        let mut changed = overrides;
        changed.apply(&change("share.per_session", "8").unwrap());
        let text = serde_json::to_string(&changed).unwrap();
        assert!(text.contains(r#""later":"x""#), "{text}");
    }
}
